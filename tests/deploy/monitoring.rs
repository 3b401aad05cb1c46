//! Alerts and the dashboard: they are sound, they name figures that the gateway tells, and alerts fire when they should.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    chart::render,
    manifest::{documents, only},
    tools::{program, read, run, tree},
};

#[test]
fn prometheus_takes_the_rules() {
    check_rules(&tree(RULES)).unwrap_or_else(|said| panic!("{said}"));
}

/// `alerts.yaml` beside this file has figures over time, and which alerts they raise.
#[test]
fn alerts_fire_when_they_should_and_not_before() {
    let mut test = program("promtool");
    test.args(["test", "rules", "tests/deploy/alerts.yaml"]);
    run(test).unwrap_or_else(|said| panic!("{said}"));
    // Every alert is in there, once with what raises it at least.
    let cases = read("tests/deploy/alerts.yaml");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(cases.contains(&format!("{{alertname=\"{name}\"}}")), "{name} is not tested");
    }
}

#[test]
fn an_alert_says_how_bad_it_is_and_what_to_do() {
    for alert in alerts() {
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["page", "ticket"].contains(&severity), "{alert}");
        for note in ["summary", "description"] {
            assert!(alert["annotations"][note].as_str().unwrap().len() > 20, "{alert}");
        }
    }
}

#[test]
fn the_chart_has_the_same_rules_and_the_same_dashboard() {
    let rendered = render("redis", &[]).unwrap();
    let rule = only(&rendered, "PrometheusRule", "");
    assert_eq!(rule["spec"], documents(&read(RULES))[0]);
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let map = only(&rendered, "ConfigMap", "-dashboard");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let chart: Value =
        serde_json::from_str(map["data"]["tollgate.json"].as_str().unwrap()).unwrap();
    assert_eq!(chart, dashboard());
}

/// Each question of the dashboard is one that Prometheus can answer.
#[test]
fn the_dashboard_is_sound() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for panel in panels {
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{place}");
    }
    let questions = questions();
    assert!(questions.len() > 15);
    let rules: Vec<Value> =
        questions.iter().map(|expr| json!({ "record": "panel:question", "expr": expr })).collect();
    let rules = json!({ "groups": [{ "name": "panels", "rules": rules }] });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.yaml");
    // JSON is YAML; `promtool` would call two rules with one name a mistake.
    let mut text = rules.to_string();
    for number in 0..questions.len() {
        text = text.replacen("panel:question\"", &format!("panel:question_{number}\""), 1);
    }
    fs::write(&file, text).unwrap();
    check_rules(&file).unwrap_or_else(|said| panic!("{said}"));
}

fn check_rules(file: &Path) -> Result<String, String> {
    let mut promtool = program("promtool");
    promtool.args(["check", "rules", "--lint=all", "--lint-fatal"]).arg(file);
    run(promtool)
}

fn alerts() -> Vec<Value> {
    let rules = documents(&read(RULES)).remove(0);
    let groups = rules["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/tollgate.json")).unwrap()
}

/// What the dashboard asks, with values in place of its variables.
pub(crate) fn questions() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let ask = |target: &Value| target["expr"].as_str().unwrap().to_owned();
    targets
        .map(ask)
        .map(|expr| expr.replace("$__rate_interval", "5m").replace("$__range", "1h"))
        .map(|expr| expr.replace("$job", ".*").replace("$route", ".*"))
        .collect()
}

pub(crate) const RULES: &str = "deploy/prometheus/rules.yaml";
