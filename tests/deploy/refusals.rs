//! What the chart refuses to render, and the sentence that it says; beside each stands what it does render.

use crate::chart::{render, render_with};

/// Asserts that `wrong` is refused with `sentence`, and `right` is not.
#[track_caller]
fn check(values: &str, wrong: &str, sentence: &str, right: &str) {
    let said = render(values, &["--set", wrong]).expect_err("it is refused");
    assert!(said.contains(sentence), "{said}");
    if !right.is_empty() {
        render(values, &["--set", right]).unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn a_store_of_one_process_has_one_pod() {
    check(
        "embedded",
        "replicas=3",
        "replicas is 3, and config.store is embedded, which is a file of one process: use config.store.redis, or \
         replicas: 1",
        "replicas=1",
    );
    check(
        "embedded",
        "autoscaling.enabled=true",
        "autoscaling is enabled, and config.store is embedded, which is a file of one process: use config.store.redis",
        "autoscaling.enabled=false",
    );
    render("redis-ha", &["--set", "autoscaling.enabled=true"]).unwrap();
    render("redis", &["--set", "replicas=3,autoscaling.enabled=false"]).unwrap();
}

#[test]
fn what_was_paid_is_on_the_volume() {
    check(
        "embedded",
        "config.store.embedded.path=/tmp/state.redb",
        "config.store.embedded.path is `/tmp/state.redb`, which ends with the pod, and with it what was paid: write \
         `/var/lib/tollgate/state.redb`, on the volume",
        "config.store.embedded.path=/var/lib/tollgate/other.redb",
    );
    check(
        "redis-ha",
        "config.store.redis.journal=/tmp/journal",
        "config.store.redis.journal is `/tmp/journal`, which ends with the pod: write `/var/lib/tollgate/journal`, on \
         the volume",
        "config.store.redis.journal=/var/lib/tollgate/other",
    );
}

#[test]
fn a_gateway_without_routes_is_not_rendered() {
    let sentence = "config has no `routes`: give the chart a gateway.yaml under `config` (deploy/helm/tollgate/ci has \
                    examples)";
    check("embedded", "config=null", sentence, "config.routes[0].price=$1");
    let said = render_with(&[]).unwrap_err();
    assert!(said.contains(sentence), "{said}");
}

#[test]
fn what_is_at_loopback_is_reached_by_nobody() {
    check(
        "embedded",
        "config.admin.address=127.0.0.1:9901",
        "the admin port is at `127.0.0.1:9901`, where nothing outside the pod reaches it: write `0.0.0.0:9901`",
        "config.admin.address=0.0.0.0:9902",
    );
    check(
        "embedded",
        "config.listen=127.0.0.1:8402",
        "the listener `http` is at `127.0.0.1:8402`, where nothing outside the pod reaches it: write `0.0.0.0:8402`",
        "config.listen=0.0.0.0:8403",
    );
    let both = "config.listen=0.0.0.0:1";
    check("redis", both, "config has `listen` and `listeners`: keep one of the two", "");
}

#[test]
fn a_pod_is_not_killed_before_it_has_ended() {
    check(
        "redis",
        "terminationGracePeriodSeconds=160",
        "terminationGracePeriodSeconds is 160, and the gateway may take 160 s to end (drain.delay 10 s, drain.timeout \
         60 s, 90 s for settlements): leave it out, or write more",
        "terminationGracePeriodSeconds=161",
    );
}

#[test]
fn secrets_that_are_named_are_there() {
    check(
        "embedded",
        "existingSecret=",
        "config names files in /etc/tollgate/secrets, and existingSecret is empty: name a Secret with `admin-token` and \
         the other keys",
        "existingSecret=mine",
    );
    check(
        "redis",
        "networkPolicy.adminFrom=null",
        "serviceMonitor is enabled, and networkPolicy.adminFrom lets nobody reach the admin port: name Prometheus there",
        "networkPolicy.adminFrom=null,networkPolicy.enabled=false",
    );
}

#[test]
fn no_secret_key_gets_into_a_config_map() {
    check(
        "embedded",
        "config.stellar.sponsors[0].env=SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY",
        "config has a secret key of Stellar in it, and a ConfigMap is no place for one: put it into existingSecret, and \
         write `{ file: /etc/tollgate/secrets/NAME }`",
        "config.stellar.sponsors[0].env=SPONSOR_SECRET",
    );
}

#[test]
fn the_name_of_a_port_is_no_others() {
    check(
        "redis",
        "config.listeners[1].name=admin,config.listeners[1].address=0.0.0.0:1",
        "a listener is called `admin`, as the operator's port is: give it another name",
        "config.listeners[1].name=other,config.listeners[1].address=0.0.0.0:1",
    );
}

#[test]
fn a_value_that_the_chart_does_not_have_is_refused() {
    check("embedded", "replica=3", "additional properties 'replica' not allowed", "");
    check("embedded", "image.digest=latest", "does not match pattern", "image.tag=latest");
    check(
        "embedded",
        "config.drain.timeout=25",
        "got number, want string",
        "config.drain.timeout=25s",
    );
    check("embedded", "config.store.redis.url=redis://r", "/config/store", "");
    check("embedded", "replicas=0", "minimum", "");
}
