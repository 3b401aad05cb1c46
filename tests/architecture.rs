//! The shape of the code, as tests: imports point downwards, `protocol` is pure, files stay short.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test ends where it finds something else than it expects"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The layers from the ground up. A module may use those below its own layer, and itself.
const LAYERS: &[&[&str]] = &[
    &["protocol"],
    &["haste", "subnet", "tunnel", "workers"],
    &["telemetry"],
    &["ledger", "store"],
    &["events"],
    &["closer"],
    &["pay"],
    &["callers"],
    &["route"],
    &["guard"],
    &["server", "upstream", "client"],
    &["admin", "config", "facilitate"],
    &["app", "checkup", "setup"],
    &["demo"],
    &["cli", "fuzz"],
];

const LINES: usize = 500;

#[test]
fn imports_point_only_downwards() {
    let rank: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(rank, modules)| modules.iter().map(move |module| (*module, rank)))
        .collect();
    let mut wrong = Vec::new();
    for file in rust_files("src") {
        let Some(module) = module_of(&file) else { continue };
        let own = *rank.get(module.as_str()).unwrap_or_else(|| {
            panic!("{} belongs to no layer: add `{module}` to LAYERS", file.display())
        });
        for used in crate_imports(&fs::read_to_string(&file).unwrap()) {
            let Some(other) = rank.get(used.as_str()) else { continue };
            if *other > own || (*other == own && used != module) {
                wrong.push(format!("{}: `{module}` must not use `{used}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn protocol_has_no_clock_no_io_and_no_randomness() {
    let forbidden = [
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::time",
        "std::thread",
        "std::process",
        "SystemTime",
        "Instant::now",
        "tokio",
        "hyper",
        "OsRng",
        "rand::",
        "getrandom",
        "tracing",
        "redb",
        "async fn",
        ".await",
    ];
    let mut wrong = Vec::new();
    for file in
        rust_files("src").iter().filter(|file| module_of(file).as_deref() == Some("protocol"))
    {
        let text = without_comments(&fs::read_to_string(file).unwrap());
        let code = text.split("#[cfg(test)]").next().unwrap();
        for word in forbidden.iter().filter(|word| code.contains(**word)) {
            wrong.push(format!("{}: uses `{word}`", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = ["src", "sandbox", "tests", "benches"]
        .into_iter()
        .flat_map(rust_files)
        .filter_map(|file| {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            (lines > LINES).then(|| format!("{}: {lines} lines, at most {LINES}", file.display()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_gateway_without_the_sandbox_does_not_link_the_soroban_host() {
    let tree = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--package", "tollgate", "--edges", "normal,build", "--prefix", "none"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(tree(&[]).contains("soroban-env-host"), "the sandbox needs the host");
    assert!(!tree(&["--no-default-features"]).contains("soroban-env-host"));
}

#[test]
fn the_readme_shows_the_configuration_that_the_demo_runs() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap();
    let (example, readme) = (read("gateway.yaml"), read("README.md"));
    let example: String = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(readme.contains(&format!("```yaml\n{example}```")), "they differ:\n{example}");
}

#[test]
fn the_import_reader_sees_every_spelling() {
    let code = "use crate::{\n    pay::{Terms, x402::X402},\n    route,\n};\nuse crate::store::Store;\n\
        // use crate::cli;\nfn f() { crate::telemetry::Clock::system(); }\n/// [`crate::app`]\n";
    assert_eq!(crate_imports(code), ["pay", "route", "store", "telemetry"]);
}

/// The first segment below `src/`: the module a file belongs to; `None` for the crate's roots.
fn module_of(file: &Path) -> Option<String> {
    let first = file.strip_prefix(root().join("src")).unwrap().components().next().unwrap();
    let name = Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned();
    (name != "lib" && name != "main").then_some(name)
}

/// The modules that `code` names behind `crate::`, in order of appearance.
fn crate_imports(code: &str) -> Vec<String> {
    let code = without_comments(code);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(identifier(rest)),
            Some(group) => {
                let mut depth = 0_i32;
                let mut item = String::new();
                for letter in group.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.push(identifier(std::mem::take(&mut item).trim()))
                        }
                        _ if depth == 0 => item.push(letter),
                        _ => {}
                    }
                }
                found.push(identifier(item.trim()));
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

fn without_comments(code: &str) -> String {
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
