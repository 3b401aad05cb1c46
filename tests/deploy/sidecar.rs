//! The sidecar in front of a Python API.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    gateway,
    manifest::{assert_valid, documents, only},
    tools::{Killed, program, read, run},
};

fn sidecar() -> Vec<Value> {
    documents(&read("deploy/kubernetes/sidecar.yaml"))
}

#[test]
fn the_api_takes_every_document_and_the_gateway_its_configuration() {
    let documents = sidecar();
    assert_valid(&documents);
    let config = only(&documents, "ConfigMap", "-tollgate");
    let settings = gateway::load("sidecar", config["data"]["gateway.yaml"].as_str().unwrap());
    assert_eq!(settings.upstreams[0].servers, ["127.0.0.1:3000"]);
    // What serves the API listens there, and nowhere that goes round the gateway.
    let program = only(&documents, "ConfigMap", "-api");
    assert!(program["data"]["api.py"].as_str().unwrap().contains("((\"127.0.0.1\", 3000), "));
}

#[test]
fn the_gateway_starts_before_the_api_and_ends_after_it() {
    let documents = sidecar();
    let deployment = &only(&documents, "Deployment", "weather")["spec"];
    assert_eq!(
        (&deployment["replicas"], &deployment["strategy"]["type"]),
        (&json!(1), &json!("Recreate"))
    );
    let pod = &deployment["template"]["spec"];
    let gateway = &pod["initContainers"][0];
    assert_eq!(gateway["restartPolicy"], "Always");
    let (grace, nap) = (
        pod["terminationGracePeriodSeconds"].as_u64().unwrap(),
        pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap(),
    );
    assert!(nap >= 10);
    // drain.delay, drain.timeout, and 90 s for settlements.
    assert!(grace > nap + 5 + 25 + 90);
    // What it keeps outlives the pod.
    let volumes = pod["volumes"].as_array().unwrap();
    let data = volumes.iter().find(|volume| volume["name"] == "data").unwrap();
    let claim = data["persistentVolumeClaim"]["claimName"].as_str().unwrap();
    only(&documents, "PersistentVolumeClaim", claim);
    for container in [gateway, &pod["containers"][0]] {
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(mount.get("subPath").is_none());
        }
    }
    // The admin port is not for everybody in the cluster.
    let policy = &only(&documents, "NetworkPolicy", "weather")["spec"];
    assert_eq!(policy["podSelector"]["matchLabels"], deployment["template"]["metadata"]["labels"]);
    for rule in policy["ingress"].as_array().unwrap() {
        let is_for_all = rule["from"].as_array().is_none_or(Vec::is_empty);
        let ports = rule["ports"].as_array().unwrap();
        assert!(!is_for_all || ports.iter().all(|port| port["port"] == "http"));
    }
    // Customers reach the gateway, not the API.
    let service = only(&documents, "Service", "weather");
    let port = &service["spec"]["ports"][0]["targetPort"];
    assert_eq!((port, &gateway["ports"][0]["name"]), (&json!("http"), &json!("http")));
}

#[test]
fn a_kustomization_says_what_is_a_teams_own() {
    let mut kustomize = program("kubectl");
    kustomize.args(["kustomize", "deploy/kubernetes"]);
    let built = documents(&run(kustomize).unwrap_or_else(|said| panic!("{said}")));
    assert_valid(&built);
    let base = sidecar();
    assert_eq!(built.len(), base.len());
    assert!(built.iter().all(|document| document["metadata"]["namespace"] == "shop"));
    let gateway = |documents: &[Value]| {
        let deployment = only(documents, "Deployment", "weather");
        deployment["spec"]["template"]["spec"]["initContainers"][0].clone()
    };
    let (own, shipped) = (gateway(&built), gateway(&base));
    assert_eq!(own["image"], "registry.example.com/tollgate:0.1.0");
    assert_eq!(own["args"], shipped["args"]);
    // What a running gateway reads is found under the same name.
    let names = |documents: &[Value]| {
        let name = |document: &Value| document["metadata"]["name"].as_str().unwrap().to_owned();
        documents.iter().map(name).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&built), names(&base));
}

/// The program as it stands in the file answers where the gateway asks, and ends when it is told.
#[test]
fn the_api_is_a_program_that_answers() {
    let documents = sidecar();
    let program = &only(&documents, "ConfigMap", "-api")["data"]["api.py"];
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let program = program.as_str().unwrap().replace("3000", &address.port().to_string());
    let child = Command::new("python3").args(["-u", "-c", &program]).stderr(Stdio::null()).spawn();
    let mut api = Killed(child.unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut connection = loop {
        match TcpStream::connect(address) {
            Ok(connection) => break connection,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    let request = "GET /v1/weather/oslo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"city": "oslo", "sky": "clear"}"#), "{answer}");
    let stop = Command::new("kill").args(["-TERM", &api.0.id().to_string()]).status().unwrap();
    assert!(stop.success());
    assert!(api.0.wait().unwrap().success(), "it ends in order");
}
