// Pays one request with `fetchWithPayment` and prints what came back as one JSON line:
// {status, ms, paymentResponse, sha256, body, contentType}; `paymentResponse` is the decoded header or null, `body` base64.
// Another protocol's receipt takes its place if `receiptOf` reads one.
//
// Arguments: URL, and optionally a method and a body.

import { createHash } from "node:crypto";

export async function pay(fetchWithPayment, receiptOf = paymentResponse) {
  const [url, method = "GET", body] = process.argv.slice(2);
  const started = performance.now();
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetchWithPayment(url, { method, body, headers });
  const bytes = Buffer.from(await response.arrayBuffer());
  const line = {
    status: response.status,
    ms: Math.round(performance.now() - started),
    ...receiptOf(response),
    sha256: createHash("sha256").update(bytes).digest("hex"),
    body: bytes.toString("base64"),
    contentType: response.headers.get("content-type"),
  };
  console.log(JSON.stringify(line));
}

function paymentResponse(response) {
  const receipt = response.headers.get("payment-response");
  const decoded = receipt === null ? null : JSON.parse(Buffer.from(receipt, "base64").toString());
  return { paymentResponse: decoded };
}
