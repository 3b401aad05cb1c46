//! When the servers of an upstream are passed over.

use std::time::Duration;

use insta::assert_snapshot;

use super::{SHORT, read};
use crate::upstream::{self, Check, Eject};

fn upstream(more: &str) -> Result<upstream::Settings, String> {
    let upstreams = format!("upstreams: {{ a: {{ servers: [http://a:1], {more} }} }}\n");
    let text = SHORT.replace("upstream: http://127.0.0.1:3000\n", &upstreams);
    read(&text).map(|mut settings| settings.upstreams.remove(0))
}

#[track_caller]
fn bad(more: &str) -> String {
    upstream(more).expect_err("the file has a fault")
}

#[test]
fn what_is_not_said_about_health_is_as_usual() {
    let usual = upstream("max_in_flight: 9").unwrap();
    assert_eq!((usual.check, usual.eject), (None, Eject::default()));
    assert_eq!((usual.max_in_flight, usual.max_waiting), (9, 1024));
    let check = Check {
        path: "/health?deep=1".parse().unwrap(),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        healthy_after: 1,
        unhealthy_after: 3,
        expect: 200..=399,
    };
    let found = upstream("health: { path: \"/health?deep=1\" }").unwrap().check;
    assert_eq!(found.as_ref(), Some(&check));
    let quick = upstream("health: { path: /health, interval: 500ms }").unwrap().check.unwrap();
    assert_eq!(quick.timeout, quick.interval);
}

#[test]
fn what_is_said_about_health_is_taken() {
    let health = "health: { path: /h, interval: 9s, timeout: 3s, healthy_after: 2, unhealthy_after: 4, expect: 204 }";
    let eject = "eject: { after: 2, for: 3s, most: 30%, server_errors: true }";
    let settings = upstream(&format!("{health}, {eject}, max_waiting: 0")).unwrap();
    let check = Check {
        path: "/h".parse().unwrap(),
        interval: Duration::from_secs(9),
        timeout: Duration::from_secs(3),
        healthy_after: 2,
        unhealthy_after: 4,
        expect: 204..=204,
    };
    assert_eq!(settings.check, Some(check));
    let time = Duration::from_secs(3);
    let eject = Eject { after: 2, time, most_percent: 30, server_errors: true };
    assert_eq!((settings.eject, settings.max_waiting), (eject, 0));
    let range = upstream("health: { path: /h, expect: 200-299 }").unwrap().check.unwrap();
    assert_eq!(range.expect, 200..=299);
}

#[test]
fn a_health_check_that_cannot_be_made_is_a_fault() {
    assert_snapshot!(bad("health: {}"), @r"
    gateway.yaml:3:50: upstreams.a.health: `path` is missing

    hint: say what is asked for: `path: /health`
    ");
    assert_snapshot!(bad("health: { path: health }"), @r"
    gateway.yaml:3:58: upstreams.a.health.path: `health` is no path

    hint: write the path that is asked for, such as `/health`
    ");
    assert_snapshot!(bad("health: { path: \"/a#b\" }"), @r"
    gateway.yaml:3:58: upstreams.a.health.path: `/a#b` is no path

    hint: write the path that is asked for, such as `/health`
    ");
    assert_snapshot!(bad("health: { path: /h, interval: 1s, timeout: 2s }"), @r"
    gateway.yaml:3:85: upstreams.a.health.timeout: a check may take 2s, and the next one comes after 1s

    hint: lower `timeout`, or raise `interval`
    ");
    assert_snapshot!(bad("health: { path: /h, unhealthy_after: 0 }"), @r"
    gateway.yaml:3:79: upstreams.a.health.unhealthy_after: `0` is out of range

    hint: write a whole number from 1 to 1000
    ");
    assert_snapshot!(bad("health: { path: /h, expect: \"<400\" }"), @r"
    gateway.yaml:3:70: upstreams.a.health.expect: `<400` is neither a status nor a range of them

    hint: such as `200`, or `200-399`
    ");
    assert_snapshot!(bad("health: { path: /h, expect: 299-200 }"), @r"
    gateway.yaml:3:70: upstreams.a.health.expect: `299-200` is neither a status nor a range of them

    hint: such as `200`, or `200-399`
    ");
    assert_snapshot!(bad("health: { path: /h, expect: 101 }"), @r"
    gateway.yaml:3:70: upstreams.a.health.expect: `101` is neither a status nor a range of them

    hint: such as `200`, or `200-399`
    ");
    assert_snapshot!(bad("health: { path: /h, every: 5s }"), @r"
    gateway.yaml:3:62: upstreams.a.health: unknown key `every`

    hint: known here: `path`, `interval`, `timeout`, `healthy_after`, `unhealthy_after` or `expect`
    ");
    assert_snapshot!(bad("max_waiting: -1"), @r"
    gateway.yaml:3:55: upstreams.a.max_waiting: `-1` is not a whole number

    hint: write a whole number from 0 to 1000000
    ");
}

#[test]
fn an_ejection_that_means_nothing_is_a_fault() {
    assert_snapshot!(bad("eject: { after: 0 }"), @r"
    gateway.yaml:3:58: upstreams.a.eject.after: `0` is out of range

    hint: write a whole number from 1 to 1000
    ");
    assert_snapshot!(bad("eject: { for: 0s }"), @r"
    gateway.yaml:3:56: upstreams.a.eject.for: `0s` is no time at all

    hint: write a duration above zero, such as `30s`
    ");
    assert_snapshot!(bad("eject: { most: 50 }"), @r"
    gateway.yaml:3:57: upstreams.a.eject.most: `50` is no share of the servers

    hint: write one from `0%` to `100%`
    ");
    assert_snapshot!(bad("eject: { most: 101% }"), @r"
    gateway.yaml:3:57: upstreams.a.eject.most: `101%` is no share of the servers

    hint: write one from `0%` to `100%`
    ");
    assert_snapshot!(bad("eject: { server_errors: 5 }"), @r"
    gateway.yaml:3:66: upstreams.a.eject.server_errors: `5` is neither `true` nor `false`

    hint: write `true` or `false`
    ");
    assert_snapshot!(bad("eject: { on_5xx: true }"), @r"
    gateway.yaml:3:51: upstreams.a.eject: unknown key `on_5xx`

    hint: known here: `after`, `for`, `most` or `server_errors`
    ");
}

#[test]
fn a_server_with_more_than_an_origin_is_a_fault() {
    let server = |server: &str| super::broken("http://127.0.0.1:3000", server);
    assert_snapshot!(server("http://host?x=1"), @r"
    gateway.yaml:3:11: upstream: `http://host?…` has a query

    hint: write it like `http://127.0.0.1:3000`
    ");
    assert_snapshot!(server("http://host/api"), @r"
    gateway.yaml:3:11: upstream: `http://host/api` has a path

    hint: write the origin alone: the request's own path is forwarded unchanged
    ");
}
