//! JSON-RPC 2.0 messages. Source: the JSON-RPC 2.0 specification, sections 4 to 6.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A call as it came.
pub(super) struct Message {
    /// `None` for a notification, which gets no answer.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) params: Option<Value>,
}

/// A JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) code: i64,
    pub(super) message: String,
}

impl Error {
    pub(super) fn parse(error: &serde_json::Error) -> Self {
        Self { code: -32700, message: format!("the request is not JSON: {error}") }
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self { code: -32600, message: message.into() }
    }

    pub(super) fn no_method(name: &str) -> Self {
        Self { code: -32601, message: format!("method not found: `{name}`") }
    }

    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self { code: -32602, message: message.into() }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self { code: -32603, message: message.into() }
    }
}

/// Which page of a list is asked for.
#[derive(Default, Deserialize)]
pub(super) struct Pagination {
    pub(super) cursor: Option<String>,
    pub(super) limit: Option<usize>,
}

/// Reads one call; with the error comes the id to answer to.
pub(super) fn parse(call: Value) -> Result<Message, (Value, Error)> {
    let Value::Object(mut call) = call else {
        return Err((Value::Null, Error::invalid_request("a call is a JSON object")));
    };
    let id = call.remove("id");
    let answer_to = id.clone().unwrap_or(Value::Null);
    if !matches!(answer_to, Value::Null | Value::Number(_) | Value::String(_)) {
        let error = Error::invalid_request("`id` is a string, a number or null");
        return Err((Value::Null, error));
    }
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err((answer_to, Error::invalid_request("`jsonrpc` is not \"2.0\"")));
    }
    let Some(Value::String(method)) = call.remove("method") else {
        return Err((answer_to, Error::invalid_request("`method` is not a string")));
    };
    Ok(Message { id, method, params: call.remove("params") })
}

/// Reads the parameters; none at all read as an empty object.
pub(super) fn params<T: DeserializeOwned>(params: Option<Value>) -> Result<T, Error> {
    let params = match params {
        None | Some(Value::Null) => json!({}),
        Some(params @ Value::Object(_)) => params,
        Some(_) => return Err(Error::invalid_params("invalid parameters: not an object")),
    };
    serde_json::from_value(params)
        .map_err(|error| Error::invalid_params(format!("invalid parameters: {error}")))
}

/// The result of a method as JSON.
pub(super) fn result<T: Serialize>(result: Result<T, Error>) -> Result<Value, Error> {
    serde_json::to_value(result?).map_err(|error| Error::internal(error.to_string()))
}

/// The answer to a call that ended so.
pub(super) fn ended(id: Value, result: Result<Value, Error>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failed(id, error),
    }
}

/// The answer to a call that failed.
pub(super) fn failed(id: Value, Error { code, message }: Error) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}
