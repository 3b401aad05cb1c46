//! The chart renders to what the API of Kubernetes takes and a gateway loads, for each of the values in its folder `ci`.

use serde_json::{Value, json};
use tollgate::config::Store;

use crate::{
    gateway,
    manifest::{assert_valid, documents, only},
    tools::{program, run},
};

/// What the chart renders with the values of that name in its folder `ci`, or what helm says.
pub(crate) fn render(values: &str, more: &[&str]) -> Result<Vec<Value>, String> {
    let file = format!("{CHART}/ci/{values}.yaml");
    render_with(&[&["--values", file.as_str()], more].concat())
}

/// As [`render`], with nothing but what the arguments say.
pub(crate) fn render_with(arguments: &[&str]) -> Result<Vec<Value>, String> {
    let mut helm = program("helm");
    helm.args(["template", "weather", CHART, "--namespace", "shop", "--kube-version", "1.33.0"]);
    helm.args(arguments);
    run(helm).map(|text| documents(&text))
}

#[track_caller]
fn rendered(values: &str, more: &[&str]) -> Vec<Value> {
    render(values, more).unwrap_or_else(|said| panic!("{said}"))
}

#[test]
fn lint_finds_nothing_and_the_api_takes_every_document() {
    for values in ALL {
        let mut lint = program("helm");
        lint.args(["lint", "--strict", CHART, "--values", &format!("{CHART}/ci/{values}.yaml")]);
        run(lint).unwrap_or_else(|said| panic!("{values}: {said}"));
        assert_valid(&rendered(values, &[]));
    }
}

#[test]
fn the_config_map_is_a_file_that_loads() {
    for values in ALL {
        let documents = rendered(values, &[]);
        let map = only(&documents, "ConfigMap", "tollgate");
        let settings = gateway::load(values, map["data"]["gateway.yaml"].as_str().unwrap());
        // The volume is where the store writes.
        let payment = settings.payment.unwrap();
        if let Store::Embedded(path) = payment.store {
            assert_eq!(path.to_str(), Some("/var/lib/tollgate/state.redb"));
        }
        let admin = settings.admin.unwrap();
        assert_eq!(admin.address, "0.0.0.0:9901".parse().unwrap());
        assert!(admin.token.is_some());
    }
}

#[test]
fn a_pod_has_a_volume_where_it_keeps_what_was_paid() {
    let cases = [("embedded", "StatefulSet"), ("redis-ha", "StatefulSet"), ("redis", "Deployment")];
    for (values, kind) in cases {
        let documents = rendered(values, &[]);
        let gateway = only(&documents, kind, "tollgate");
        let mounts = &gateway["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
        let data = mounts.as_array().unwrap().iter().find(|mount| mount["name"] == "data");
        assert_eq!(data.is_some(), kind == "StatefulSet", "{values}");
        if let Some(data) = data {
            assert_eq!(data["mountPath"], "/var/lib/tollgate");
            let claims = gateway["spec"]["volumeClaimTemplates"].as_array().unwrap();
            assert_eq!(claims[0]["metadata"]["name"], "data");
            // What it keeps outlives the release.
            let kept = &gateway["spec"]["persistentVolumeClaimRetentionPolicy"];
            assert_eq!(kept, &json!({ "whenDeleted": "Retain", "whenScaled": "Retain" }));
        }
        // Only folders follow a change.
        for mount in mounts.as_array().unwrap() {
            assert!(mount.get("subPath").is_none(), "{mount}");
        }
        let annotations = gateway["spec"]["template"]["metadata"].get("annotations");
        assert_eq!(annotations, None, "a changed configuration is a reload, not a new pod");
    }
}

#[test]
fn no_pod_has_more_rights_than_it_needs() {
    for values in ALL {
        let documents = rendered(values, &[]);
        let pods: Vec<&Value> = documents.iter().filter_map(pod_of).collect();
        assert_eq!(pods.len(), 2, "the gateway's, and the test's");
        for pod in pods {
            assert_eq!(pod["automountServiceAccountToken"], false);
            let context = &pod["securityContext"];
            assert_eq!(context["runAsNonRoot"], true);
            assert_eq!(context["runAsUser"], 65532);
            assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
            let container = &pod["containers"][0];
            assert_eq!(
                container["securityContext"],
                json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                })
            );
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
    let documents = rendered("embedded", &[]);
    assert_eq!(only(&documents, "ServiceAccount", "")["automountServiceAccountToken"], false);
}

#[test]
fn ports_are_those_of_the_listeners() {
    let documents = rendered("redis", &[]);
    let pod = pod_of(only(&documents, "Deployment", "")).unwrap();
    let ports = &pod["containers"][0]["ports"];
    let listed: Vec<_> = ports.as_array().unwrap().iter().map(name_and("containerPort")).collect();
    assert_eq!(listed, [("https", 8443), ("plain", 8402), ("admin", 9901)]);
    let service = only(&documents, "Service", "tollgate");
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert_eq!(
        ports.iter().map(name_and("port")).collect::<Vec<_>>(),
        [("https", 443), ("plain", 80)]
    );
    // Customers never reach the operator's port by the Service.
    assert!(ports.iter().all(|port| port["targetPort"] != "admin"));
    let policy = only(&documents, "NetworkPolicy", "");
    let ingress = policy["spec"]["ingress"].as_array().unwrap();
    assert!(ingress[0].get("from").is_none());
    assert!(ingress[0]["ports"].as_array().unwrap().iter().all(|port| port["port"] != "admin"));
    assert_eq!(ingress[1]["ports"][0]["port"], "admin");
    assert!(ingress[1]["from"].is_array());
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));

    let documents = rendered("embedded", &[]);
    let service = only(&documents, "Service", "tollgate");
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert_eq!(ports.iter().map(name_and("port")).collect::<Vec<_>>(), [("http", 8402)]);
    let policy = only(&documents, "NetworkPolicy", "");
    assert_eq!(
        policy["spec"]["ingress"].as_array().unwrap().len(),
        1,
        "nobody reaches the admin port"
    );
}

#[test]
fn a_service_leads_to_gateways_alone() {
    for values in ALL {
        let documents = rendered(values, &[]);
        let gateway = documents.iter().find(|document| document["spec"].get("template").is_some());
        let gateway = &gateway.unwrap()["spec"]["template"]["metadata"]["labels"];
        let check = &only(&documents, "Pod", "-check")["metadata"]["labels"];
        let services = documents.iter().filter(|document| document["kind"] == "Service");
        let mut seen = 0;
        for service in services {
            seen += 1;
            let selector = service["spec"]["selector"].as_object().unwrap();
            let selects =
                |labels: &Value| selector.iter().all(|(key, value)| &labels[key] == value);
            assert!(selects(gateway) && !selects(check), "{service}");
        }
        assert_eq!(seen, 2);
    }
}

#[test]
fn a_pod_has_longer_to_end_than_the_gateway_takes() {
    let grace = |values: &str, more: &[&str]| {
        let documents = rendered(values, more);
        let pod = documents.iter().filter_map(pod_of).find(|pod| pod["restartPolicy"] != "Never");
        pod.unwrap()["terminationGracePeriodSeconds"].as_u64().unwrap()
    };
    // 5 s, 25 s, 90 s for settlements, 10 s to spare.
    assert_eq!(grace("embedded", &[]), 130);
    let longer = ["--set", "config.drain.delay=1500ms,config.drain.timeout=2m"];
    assert_eq!(grace("embedded", &longer), 2 + 120 + 90 + 10);
    assert_eq!(grace("redis", &[]), 180);
    assert_eq!(grace("redis", &["--set", "terminationGracePeriodSeconds=161"]), 161);
}

#[test]
fn who_watches_is_led_to_the_admin_port() {
    let documents = rendered("redis", &[]);
    let monitor = only(&documents, "ServiceMonitor", "");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let matches = |service: &&Value| {
        let labels = &service["metadata"]["labels"];
        service["kind"] == "Service" && wanted.iter().all(|(key, value)| &labels[key] == value)
    };
    let found: Vec<&Value> = documents.iter().filter(matches).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["metadata"]["name"], "weather-tollgate-admin");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["port"], found[0]["spec"]["ports"][0]["name"]);
    assert_eq!(
        endpoint["authorization"]["credentials"],
        json!({ "name": "tollgate", "key": "admin-token" })
    );
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    for kind in ["ServiceMonitor", "PrometheusRule", "HorizontalPodAutoscaler"] {
        assert!(rendered("embedded", &[]).iter().all(|document| document["kind"] != kind));
    }
}

#[test]
fn helm_test_checks_what_the_gateway_runs_on() {
    let documents = rendered("embedded", &[]);
    let check = only(&documents, "Pod", "-check");
    assert_eq!(check["metadata"]["annotations"]["helm.sh/hook"], "test");
    let gateway = pod_of(only(&documents, "StatefulSet", "")).unwrap();
    let (tested, run) = (&check["spec"]["containers"][0], &gateway["containers"][0]);
    assert_eq!(tested["args"], json!(["check", "-c", "/etc/tollgate/config/gateway.yaml"]));
    let start = ["run", "-c", "/etc/tollgate/config/gateway.yaml", "--log-format", "json"];
    assert_eq!(run["args"], json!(start));
    assert_eq!(tested["image"], run["image"]);
    assert_eq!(check["spec"]["volumes"], gateway["volumes"]);
    let online = rendered("redis", &[]);
    let online = &only(&online, "Pod", "-check")["spec"]["containers"][0];
    assert_eq!(online["args"][3], "--online");
    assert_eq!(online["envFrom"], json!([{ "secretRef": { "name": "tollgate-redis" } }]));
}

fn pod_of(document: &Value) -> Option<&Value> {
    match document["kind"].as_str().unwrap() {
        "Pod" => Some(&document["spec"]),
        "Deployment" | "StatefulSet" => Some(&document["spec"]["template"]["spec"]),
        _ => None,
    }
}

fn name_and(key: &'static str) -> impl Fn(&Value) -> (&str, u64) {
    move |port| (port["name"].as_str().unwrap(), port[key].as_u64().unwrap())
}

pub(crate) const CHART: &str = "deploy/helm/tollgate";
pub(crate) const ALL: &[&str] = &["embedded", "redis", "redis-ha"];
