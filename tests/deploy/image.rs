//! The image and the composition, as far as they can be checked without an engine that builds them.

use std::{
    error::Error as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tollgate::{
    config::Store,
    store::{Durability, RedisSettings},
};

use crate::{
    gateway,
    manifest::{documents, hold_against},
    server,
    tools::{program, read, run, tree},
};

#[test]
fn the_linter_finds_nothing_in_the_dockerfile() {
    let lint = |file: &Path| {
        let mut hadolint = program("hadolint");
        hadolint.args(["--no-color", "--failure-threshold", "style"]).arg(file);
        run(hadolint)
    };
    lint(&tree(DOCKERFILE)).unwrap_or_else(|said| panic!("{said}"));
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("Dockerfile");
    fs::write(&wrong, read(DOCKERFILE).replace("rust:1.95-bookworm", "rust")).unwrap();
    assert!(lint(&wrong).unwrap_err().contains("DL3006"), "it looks");
}

/// The build sees no other file, so what cargo reads must be among those of the ignore file.
#[test]
fn the_context_has_what_cargo_asks_for_and_no_more() {
    let context = tempfile::tempdir().unwrap();
    let text = read("deploy/Dockerfile.dockerignore");
    let mut rules = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "all is left out but what is named");
    for rule in rules {
        let path = rule.strip_prefix('!').expect("the rest takes something in");
        let target = context.path().join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        run({
            let mut copy = Command::new("cp");
            copy.arg("-r").arg(tree(path)).arg(target);
            copy
        })
        .unwrap();
    }
    for (file, part) in included(&context.path().join("src")) {
        let part = file.parent().unwrap().join(part);
        assert!(part.exists(), "{} includes {}", file.display(), part.display());
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--locked",
        "--offline",
        "--no-default-features",
        "--format-version",
        "1",
    ]);
    let said = run({
        cargo.current_dir(context.path());
        cargo
    });
    let metadata: Value =
        serde_json::from_str(&said.unwrap_or_else(|said| panic!("{said}"))).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let own = packages.iter().find(|package| package["name"] == "tollgate").unwrap();
    let targets = own["targets"].as_array().unwrap();
    assert!(
        targets.iter().any(|target| target["name"] == "tollgate" && target["kind"][0] == "bin")
    );
    assert!(
        read(DOCKERFILE)
            .contains("cargo build --release --locked --package tollgate --bin tollgate")
    );
}

#[test]
fn the_image_is_of_a_user_without_a_shell_and_starts_what_there_is() {
    let text = read(DOCKERFILE);
    let last = text.rsplit("FROM ").next().unwrap();
    assert!(last.starts_with("gcr.io/distroless/cc-debian12:nonroot\n"));
    assert!(last.contains("\nUSER 65532:65532\n"));
    assert!(!last.contains("\nRUN "), "there is nothing that could run it");
    for label in ["title", "description", "licenses", "version", "revision", "base.name"] {
        assert!(last.contains(&format!("org.opencontainers.image.{label}=")), "{label}");
    }
    let lists = |word: &'static str| {
        let lines = last.lines().filter_map(move |line| line.trim_start().strip_prefix(word));
        lines.map(|list| serde_json::from_str::<Vec<String>>(list).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lists("ENTRYPOINT "), [["/usr/bin/tollgate"]]);
    // Each command is one that the program has.
    let [health, start] = &lists("CMD ")[..] else { panic!("{last}") };
    assert_eq!(health[0], "/usr/bin/tollgate");
    let mut help = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    help.args([start[0].as_str(), "--help"]);
    run(help).unwrap_or_else(|said| panic!("{said}"));
    // Where nobody listens it is not healthy: 1, and not 2, which would be a command that there is not.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = health.last().unwrap();
    assert_eq!(address, "127.0.0.1:9901");
    let mut asked = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    asked.args(&health[1..health.len() - 1]).arg(nobody.to_string());
    assert_eq!(asked.output().unwrap().status.code(), Some(1));
}

#[test]
fn docker_knows_every_key_of_the_composition() {
    let mut compose = compose();
    // It came after the schema that can be had.
    assert_eq!(compose.as_object_mut().unwrap().remove("name"), Some("tollgate".into()));
    let check = |compose: &Value| hold_against(&["compose-spec.json"], &[compose]);
    check(&compose).unwrap_or_else(|said| panic!("{said}"));
    compose["services"]["redis"]["comand"] = compose["services"]["redis"]["command"].take();
    assert!(check(&compose).unwrap_err().contains("comand"));
}

#[test]
fn the_composition_is_read_only_and_keeps_no_secret() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
    }
    let gateway = &services["tollgate"];
    assert_eq!(gateway["ports"], json!(["8402:8402", "127.0.0.1:9901:9901"]));
    assert_eq!(gateway["depends_on"]["redis"]["condition"], "service_healthy");
    for path in ["deploy/compose/gateway.yaml", "deploy/compose/api/weather"] {
        assert!(tree(path).exists(), "{path}");
    }
    for secret in gateway["secrets"].as_array().unwrap() {
        let file = compose["secrets"][secret.as_str().unwrap()]["file"].as_str().unwrap();
        assert!(file.starts_with("./secrets/"), "{file}");
    }
    assert!(read(".gitignore").lines().any(|line| line == "deploy/secrets/"));
    assert_eq!(gateway["build"], json!({ "context": "..", "dockerfile": DOCKERFILE }));
}

/// Redis as it is composed is one that the gateway takes for `redis-single`, and not by any word less.
#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_takes_redis_as_it_is_composed() {
    let settings = gateway::load("compose", &read("deploy/compose/gateway.yaml"));
    let Store::Redis(settings) = settings.payment.unwrap().store else { panic!() };
    assert_eq!(settings.durability, Durability::Single);
    let compose = compose();
    let command: Vec<_> = compose["services"]["redis"]["command"].as_array().unwrap().clone();
    let command: Vec<&str> = command.iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(command[0], "redis-server");

    connect(&command[1..], &settings).await.unwrap();
    let lazy: Vec<&str> =
        command[1..].iter().map(|word| if *word == "always" { "everysec" } else { word }).collect();
    let refused = connect(&lazy, &settings).await.unwrap_err();
    assert!(refused.contains("appendfsync"), "{refused}");
}

/// Opens a store with `settings` on a Redis that is started with `arguments`: what they do not say is not fit.
async fn connect(arguments: &[&str], settings: &RedisSettings) -> Result<(), String> {
    let (pairs, []) = arguments.as_chunks() else { panic!("{arguments:?}") };
    let named = |[name, value]: &[&str; 2]| {
        let name: &'static str = Box::leak(name.strip_prefix("--").unwrap().to_owned().into());
        (name, (*value).to_owned())
    };
    let unfit = server::Settings {
        appendonly: false,
        appendfsync: "no",
        maxmemory_policy: "allkeys-lru",
        more: pairs.iter().map(named).collect(),
        ..server::Settings::default()
    };
    let server = server::Server::redis(unfit).await;
    let timeout = Duration::from_secs(10);
    let settings = RedisSettings { url: server.url().into(), timeout, ..settings.clone() };
    let opened = tollgate::store::Store::redis(settings).await;
    opened.map(drop).map_err(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

/// What the sources in `folder` include when they are compiled: who, and what from there.
fn included(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // What tests include is for tests, which the image's build does not compile.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            parts.extend(included(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        for word in ["include_str!(\"", "include_bytes!(\""] {
            let named = text.split(word).skip(1).map(|rest| rest.split('"').next().unwrap());
            parts.extend(named.map(|part| (path.clone(), part.to_owned())));
        }
    }
    parts
}

fn compose() -> Value {
    documents(&read("deploy/compose.yaml")).remove(0)
}

const DOCKERFILE: &str = "deploy/Dockerfile";
