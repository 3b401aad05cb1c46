//! The units of systemd, as systemd reads them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    gateway,
    tools::{Killed, read, tree},
};

/// What `systemd-analyze ARGUMENTS` says of the units on a machine that has nothing else, after `change` of the service.
fn analyze(arguments: &[&str], change: impl Fn(String) -> String) -> (bool, String) {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("etc/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::write(units.join("tollgate.service"), change(read("deploy/systemd/tollgate.service")))
        .unwrap();
    fs::copy(tree("deploy/systemd/tollgate.socket"), units.join("tollgate.socket")).unwrap();
    for program in ["usr/bin/tollgate", "bin/kill"] {
        let path = root.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .arg(format!("--root={}", root.path().display()))
        .args(["--man=no", "--no-pager"])
        .args(arguments)
        .output()
        .expect("systemd-analyze is there: install the package systemd");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let verify = ["verify", "--recursive-errors=no", "tollgate.service", "tollgate.socket"];
    assert_eq!(analyze(&verify, |unit| unit), (true, String::new()));
    // It looks.
    let (_, said) = analyze(&verify, |unit| unit.replace("DynamicUser", "DynamikUser"));
    assert!(said.contains("DynamikUser"), "{said}");
    let (fine, said) = analyze(&verify, |unit| unit.replace("/usr/bin/tollgate", "/usr/bin/other"));
    assert!(!fine && said.contains("/usr/bin/other"), "{said}");
}

/// From 0, shut in, to 10. Ports below 1024 and the internet are what is left.
#[test]
fn the_service_is_shut_in() {
    let security = ["security", "--offline=true", "--threshold=20", "tollgate.service"];
    let (fine, said) = analyze(&security, |unit| unit);
    assert!(fine, "{said}");
    let (fine, _) = analyze(&security, |unit| unit.replace("\nProtect", "\n#"));
    assert!(!fine, "it looks");
}

#[test]
fn the_service_tells_systemd_how_it_ends_and_reloads() {
    let unit = read("deploy/systemd/tollgate.service");
    let has = |line: &str| assert!(unit.lines().any(|given| given == line), "{line}");
    has("Type=notify");
    has("ExecReload=/bin/kill -HUP $MAINPID");
    has("RestartPreventExitStatus=78");
    has("ProtectSystem=strict");
    has("AmbientCapabilities=CAP_NET_BIND_SERVICE");
    // drain.delay 0 s and drain.timeout 25 s by default, 90 s for settlements.
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(stop.parse::<u32>().unwrap() > 25 + 90);
}

/// What `Type=notify` and `WatchdogSec` wait for comes, or the unit would be ended by them.
#[test]
fn the_gateway_tells_systemd_what_the_unit_waits_for() {
    let unit = read("deploy/systemd/tollgate.service");
    let patience = unit.lines().find_map(|line| line.strip_prefix("WatchdogSec=")).unwrap();
    let patience = Duration::from_secs(patience.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let config = "version: 1\nlisten: 127.0.0.1:0\nupstream: http://127.0.0.1:1\nroutes: [{ match: GET /a, free: true }]\n";
    fs::write(folder.path().join("gateway.yaml"), config).unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(45))).unwrap();
    let started = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["run", "-c", "gateway.yaml"])
        .current_dir(folder.path())
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        // In a thirtieth of the time, so that this test does not take that long.
        .env("WATCHDOG_USEC", (patience / 30).as_micros().to_string())
        .stderr(Stdio::null())
        .spawn();
    let mut gateway = Killed(started.unwrap());
    let await_word = |word: &str| {
        let mut said = [0; 4096];
        loop {
            let length = manager.recv(&mut said).unwrap_or_else(|error| panic!("{word}: {error}"));
            if String::from_utf8_lossy(&said[..length]).lines().any(|line| line == word) {
                return;
            }
        }
    };
    let kill = |signal: &str, gateway: &Killed| {
        let id = gateway.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    };
    await_word("READY=1");
    await_word("WATCHDOG=1");
    await_word("WATCHDOG=1");
    kill("-HUP", &gateway);
    await_word("RELOADING=1");
    await_word("READY=1");
    kill("-TERM", &gateway);
    await_word("STOPPING=1");
    assert!(gateway.0.wait().unwrap().success());
}

/// The configuration beside the unit names its credentials, its folder and the socket's port.
#[test]
fn the_configuration_is_that_of_the_units() {
    let text = read("deploy/systemd/gateway.yaml");
    let settings = gateway::load("systemd", &text);
    let unit = read("deploy/systemd/tollgate.service");
    let mut credentials = 0;
    for word in text.split([' ', '}', ']', '\n']) {
        let Some(name) = word.strip_prefix("/run/credentials/tollgate.service/") else { continue };
        credentials += 1;
        assert!(unit.contains(&format!("\nLoadCredential={name}:/etc/tollgate/")), "{name}");
    }
    assert_eq!(credentials, 4);
    assert!(text.contains("/var/lib/tollgate/") && unit.contains("\nStateDirectory=tollgate\n"));
    let socket = read("deploy/systemd/tollgate.socket");
    let [listener] = &settings.listeners[..] else { panic!() };
    assert!(socket.contains(&format!("\nListenStream={}\n", listener.address)));
}
