// A fetch that keeps to what a browser lets a page of another origin do, without cookies: it asks beforehand where it must,
// sends no more than it was allowed, and shows the page no header that it was not to see.
//
// Source: Fetch standard, CORS protocol.

const ALWAYS_SENT = ["accept", "accept-language", "content-language"];
const ALWAYS_SEEN = [
  "cache-control",
  "content-language",
  "content-length",
  "content-type",
  "expires",
  "last-modified",
  "pragma",
];

export function fromPageOf(origin) {
  return async (input, { method = "GET", headers, ...init } = {}) => {
    const sent = new Headers(headers);
    const unsafe = [...sent.keys()].filter((name) => !ALWAYS_SENT.includes(name));
    if (unsafe.length > 0 || !["GET", "HEAD", "POST"].includes(method)) {
      await preflight(origin, input, method, unsafe);
    }
    sent.set("origin", origin);
    const response = await fetch(input, { ...init, method, headers: sent });
    if (!allows(response, origin)) throw new TypeError(`${response.status}, which ${origin} may not read`);
    const exposed = list(response, "access-control-expose-headers");
    const seen = [...response.headers].filter(([name]) => ALWAYS_SEEN.includes(name) || exposed.includes(name));
    const shown = new Response(response.body, { status: response.status, headers: seen });
    return Object.defineProperty(shown, "url", { value: response.url });
  };
}

async function preflight(origin, input, method, unsafe) {
  const headers = { origin, "access-control-request-method": method };
  if (unsafe.length > 0) headers["access-control-request-headers"] = unsafe.sort().join(",");
  const answer = await fetch(input, { method: "OPTIONS", headers });
  const allowed = list(answer, "access-control-allow-headers");
  const refused = unsafe.filter((name) => !allowed.includes(name));
  const methods = list(answer, "access-control-allow-methods");
  const simple = ["GET", "HEAD", "POST"].includes(method) || methods.includes(method.toLowerCase());
  if (!answer.ok || !allows(answer, origin) || refused.length > 0 || !simple) {
    throw new TypeError(`${origin} may not send ${method} with ${refused}: ${answer.status}`);
  }
}

function allows(response, origin) {
  return ["*", origin].includes(response.headers.get("access-control-allow-origin"));
}

function list(response, name) {
  return (response.headers.get(name) ?? "").split(",").map((item) => item.trim().toLowerCase());
}
