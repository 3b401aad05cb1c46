//! A gateway under a service manager: a real socket that is handed over, real messages that it sends.

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::Stdio,
};

use tokio::process::Command;

use crate::{
    site::{Process, Site, Version},
    stop::fetch,
};

/// What hears the gateway.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message that is about more than being alive.
    fn told(&self) -> String {
        loop {
            let text = self.next();
            if text.trim() != "WATCHDOG=1" {
                return text;
            }
        }
    }

    fn next(&self) -> String {
        let mut message = [0; 512];
        let length = self.0.recv(&mut message).expect("a message in time");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }
}

/// Starts a gateway as a service manager does: with `socket` as its file 3, and a place for its messages.
async fn run(site: &Site, socket: TcpListener) -> (Process, Manager) {
    let at = site.folder.path().join("notify");
    let manager = UnixDatagram::bind(&at).unwrap();
    manager.set_read_timeout(Some(crate::clients::LONG)).unwrap();
    let config = site.config();
    let process = Process::start_with(&config, &site.sandbox, |command| {
        // A shell before the other, and replaced by it: the process id of the gateway is then the same.
        let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
        let (inner, mut outer) = (command.as_std(), Command::new("sh"));
        outer.args(["-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        let set = inner.get_envs().filter_map(|(name, value)| Some((name, value?)));
        outer.env_clear().envs(set).env("NOTIFY_SOCKET", &at).env("WATCHDOG_USEC", "200000");
        let socket = Stdio::from(OwnedFd::from(socket));
        outer.stdin(socket).stderr(Stdio::piped()).kill_on_drop(true);
        *command = outer;
    });
    (process.await, Manager(manager))
}

#[tokio::test]
async fn a_socket_that_is_handed_over_is_served_and_the_manager_is_told_how_it_goes() {
    let site = Site::start().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let listen = format!("listen: {address}");
    site.write(&site.yaml(&listen, Version::A));
    // Who comes before the gateway waits in the socket's queue.
    let early = tokio::spawn(fetch(address, "/free"));
    let (mut gateway, manager) = run(&site, socket).await;
    assert_eq!(manager.told().trim(), "READY=1");
    assert!(early.await.unwrap().unwrap().ends_with('a'));
    for _ in 0..2 {
        assert_eq!(manager.next().trim(), "WATCHDOG=1");
    }

    site.write(&site.yaml(&listen, Version::B));
    let reloading = manager.told();
    let (first, second) = reloading.trim().split_once('\n').unwrap();
    assert_eq!(first, "RELOADING=1");
    assert!(second.starts_with("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.told().trim(), "READY=1");
    assert!(fetch(address, "/free").await.unwrap().ends_with('b'));
    // A bad file is no end of a service that is ready.
    site.write("");
    assert!(manager.told().starts_with("RELOADING=1"));
    assert_eq!(manager.told().trim(), "READY=1");
    assert!(fetch(address, "/free").await.unwrap().ends_with('b'));

    gateway.signal("-TERM").await;
    assert_eq!(manager.told().trim(), "STOPPING=1");
    // It is alive as long as it stops.
    assert_eq!(manager.next().trim(), "WATCHDOG=1");
    assert!(gateway.child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_socket_whose_listener_goes_is_told_of() {
    let site = Site::start().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    site.write(&site.yaml(&format!("listen: {address}"), Version::A));
    let (gateway, _manager) = run(&site, socket).await;
    assert!(fetch(address, "/free").await.unwrap().ends_with('a'));
    site.write(&site.yaml("listen: 127.0.0.1:0", Version::B));
    let told = gateway.logged("the socket was handed over and stays open").await;
    assert_eq!(told["fields"]["address"], address.to_string());
    // It is there for a listener that comes back.
    site.write(&site.yaml(&format!("listen: {address}"), Version::B));
    gateway.logged_times("configuration swapped", 2).await;
    assert!(fetch(address, "/free").await.unwrap().ends_with('b'));
}

#[tokio::test]
async fn a_socket_that_no_listener_asks_for_is_told_of() {
    let site = Site::start().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    site.write(&site.yaml("listen: 127.0.0.1:0", Version::A));
    let (gateway, _manager) = run(&site, socket).await;
    assert_ne!(gateway.address, address);
    let told = gateway.logged("a socket that was handed over").await;
    assert_eq!(told["fields"]["address"], address.to_string());
}
