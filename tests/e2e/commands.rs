//! The commands that an operator types, as processes of their own: what they say, and the codes that they end with.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::Output,
    thread,
};

use serde_json::Value;
use tokio::process::Command;

const FREE: &str = "version: 1\nlisten: 127.0.0.1:0\nupstream: http://127.0.0.1:1\nroutes:\n  \
                    - { match: GET /health, free: true }\n  - { match: ANY /*, deny: 404 }\n";

async fn run(line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate")).args(line).env_clear().output().await.unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// An admin port that answers one request so.
fn port(status: &'static str, body: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).unwrap();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&bytes[..length]).lines().next().unwrap_or_default().to_owned()
    });
    (address, asked)
}

#[tokio::test]
async fn health_ends_with_0_only_where_a_gateway_says_that_it_is_well() {
    let (address, asked) = port("200 OK", "{\"status\":\"ok\"}");
    let done = run(&["health", "--address", &address.to_string()]).await;
    assert_eq!((code(&done), &*done.stdout), (0, &b"ok\n"[..]), "{done:?}");
    assert_eq!(asked.join().unwrap(), "GET /healthz HTTP/1.1");
    let (address, asked) =
        port("503 Service Unavailable", "{\"status\":\"not ready\",\"error\":\"it stops\"}");
    let done = run(&["health", "--ready", "--address", &address.to_string()]).await;
    assert_eq!((code(&done), &*done.stderr), (1, &b"tollgate: it stops\n"[..]), "{done:?}");
    assert_eq!(asked.join().unwrap(), "GET /readyz HTTP/1.1");
    // Nobody listens there any more.
    assert_eq!(code(&run(&["health", "--address", &address.to_string()]).await), 1);
    assert_eq!(code(&run(&["health", "--config", "/nowhere/gateway.yaml"]).await), 78);
    assert_eq!(code(&run(&["health", "--address"]).await), 2);
}

#[tokio::test]
async fn reload_tells_what_is_wrong_and_ends_as_check_does() {
    for (status, body, expected, told) in [
        ("200 OK", "{\"status\":\"swapped\"}", 0, "swapped"),
        (
            "422 Unprocessable Entity",
            "{\"error\":\"gateway.yaml:3:1: unknown key\"}",
            78,
            "gateway.yaml:3:1",
        ),
        ("404 Not Found", "{\"error\":\"there is no such page\"}", 1, "SIGHUP"),
        ("401 Unauthorized", "{\"error\":\"no token\"}", 1, "--token-env"),
    ] {
        let (address, asked) = port(status, body);
        let done = run(&["reload", "--admin", &format!("http://{address}")]).await;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        assert_eq!(code(&done), expected, "{status}: {said}");
        assert!(said.contains(told), "{status}: {said}");
        assert_eq!(asked.join().unwrap(), "POST /-/reload HTTP/1.1");
    }
}

#[tokio::test]
async fn in_a_pipe_commands_write_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, FREE).unwrap();
    let path = path.to_str().unwrap();
    let schema = json(&run(&["schema"]).await);
    assert_eq!(schema["additionalProperties"], false);
    let version = json(&run(&["version"]).await);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["features"], serde_json::json!(["sandbox"]));
    let routes = json(&run(&["routes", "-c", path]).await);
    assert_eq!(routes["routes"][0]["match"], "GET /health");
    let verdict = json(&run(&["routes", "-c", path, "--test", "GET /health"]).await);
    assert_eq!(verdict["route"]["access"], "free");
    assert_eq!(verdict["not"][0]["why"], "its `*` is less specific than `health`");
    let table = run(&["routes", "-c", path, "-o", "table"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("GET /health  ") && table.contains("deny 404"), "{table}");
}

#[tokio::test]
async fn help_teaches_by_an_example_and_mistakes_end_with_2() {
    for command in ["schema", "reload", "health", "version", "routes"] {
        let help = run(&[command, "--help"]).await;
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(
            text.contains(&format!("tollgate {command}")) && text.contains("Example"),
            "{text}"
        );
        assert_eq!(code(&run(&[command, "--no-such-thing"]).await), 2, "{command}");
    }
}
