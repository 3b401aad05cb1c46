//! Every `gateway.yaml` that is shown to somebody loads, with what he is told to give it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tollgate::config::{Env, Settings, parse};

use crate::{
    manifest::documents,
    tools::{read, tree},
};

/// What a file may ask the environment for.
const VARIABLES: &[(&str, &str)] = &[
    ("STELLAR_RPC_URL", "https://rpc.example.com"),
    ("STELLAR_RECIPIENT", "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG"),
    ("SPONSOR_SECRET", SPONSOR),
    ("REDIS_URL", "redis://127.0.0.1:6379"),
];

/// Where it may look for the files of an operator.
const FOLDERS: &[&str] = &[
    "/etc/tollgate/secrets/",
    "/etc/tollgate/tls/",
    "/run/credentials/tollgate.service/",
    "/run/secrets/",
];

/// The settings of a `gateway.yaml`. `name` is what a fault is told of.
#[track_caller]
pub(crate) fn load(name: &str, text: &str) -> Settings {
    try_load(text).unwrap_or_else(|faults| panic!("{name}:\n{faults}"))
}

fn try_load(text: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    put_files(folder.path());
    let here = format!("{}/", folder.path().display());
    let text = FOLDERS.iter().fold(text.to_owned(), |text, folder| text.replace(folder, &here));
    let env = Env::fixed(VARIABLES.iter().copied());
    parse(&text, "gateway.yaml", folder.path(), &env).map_err(|faults| faults.to_string())
}

fn put_files(folder: &Path) {
    let hex = "0123456789abcdef".repeat(4);
    let files = [
        ("admin-token", hex.as_str()),
        ("mpp-secret-key", &hex),
        ("sponsor", SPONSOR),
        ("redis-url", "rediss://redis.example.com"),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    let certified = rcgen::generate_simple_self_signed(["weather.example.com".to_owned()]).unwrap();
    fs::write(folder.join("tls.crt"), certified.cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), certified.signing_key.serialize_pem()).unwrap();
}

#[test]
fn every_gateway_yaml_that_is_shown_loads() {
    let mut loaded = Vec::new();
    let mut take = |name: String, text: &str| {
        load(&name, text);
        loaded.push(name);
    };
    take("gateway.yaml".to_owned(), &read("gateway.yaml"));
    for page in ["README.md", "deploy/README.md"] {
        for (place, text) in shown_in(&read(page)).into_iter().enumerate() {
            take(format!("{page}, {place}"), &text);
        }
    }
    for path in yaml_files(&tree("deploy")) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(tree("")).unwrap().display().to_string();
        for document in documents(&text) {
            if document.get("version").is_some() && document.get("routes").is_some() {
                take(name.clone(), &text);
            }
            if let Some(text) = document["data"]["gateway.yaml"].as_str() {
                take(name.clone(), text);
            }
        }
    }
    loaded.sort_unstable();
    let expected = [
        "README.md, 0",
        "deploy/compose/gateway.yaml",
        "deploy/kubernetes/sidecar.yaml",
        "deploy/systemd/gateway.yaml",
        "gateway.yaml",
    ];
    assert_eq!(loaded, expected, "a new one is added here, and one that was not found is missed");
}

/// The configurations in a page: its blocks of YAML that begin with the version.
fn shown_in(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.contains("version: 1\n")).collect()
}

/// Those below `folder` but for the chart's templates, which are YAML only once they are rendered.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("templates") {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            files.push(path);
        }
    }
    files
}

const SPONSOR: &str = "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY";
