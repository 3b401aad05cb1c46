// A small upstream for the gateway's tests, in another language than the gateway's: the same contract as `upstream.py`.
//
// Prints `PORT n`, then serves HTTP/1.1 on loopback until it is killed: GET /weather, fixed bytes; GET /hits, how often
// /weather was reached, as text, or /hits?path=/echo how often that was; POST /echo, the body back byte for byte; GET /fail,
// 500; GET /headers, the received headers as a JSON list of [name, value].

import http from "node:http";

const WEATHER = Buffer.from('{"city":"Lisbon","celsius":21.5,"sky":"clear \u2600"}\n');

const hits = new Map();

const server = http.createServer(async (request, response) => {
  const answer = (status, kind, body) => {
    const bytes = Buffer.from(body);
    response.writeHead(status, { "content-type": kind, "content-length": bytes.length });
    response.end(request.method === "HEAD" ? undefined : bytes);
  };
  const [path, query] = request.url.split("?");
  hits.set(path, (hits.get(path) ?? 0) + 1);
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const method = request.method === "HEAD" ? "GET" : request.method;
  switch (`${method} ${path}`) {
    case "GET /weather":
      return answer(200, "application/json", WEATHER);
    case "GET /hits": {
      const of = query?.startsWith("path=") ? query.slice(5) : "/weather";
      return answer(200, "text/plain", String(hits.get(of) ?? 0));
    }
    case "GET /headers": {
      const raw = request.rawHeaders;
      const pairs = raw.flatMap((name, i) => (i % 2 === 0 ? [[name, raw[i + 1]]] : []));
      return answer(200, "application/json", JSON.stringify(pairs));
    }
    case "GET /fail":
      return answer(500, "text/plain", "the upstream fails\n");
    case "POST /echo":
      return answer(
        200,
        request.headers["content-type"] ?? "application/octet-stream",
        Buffer.concat(chunks),
      );
    default:
      return answer(404, "text/plain", "no such path\n");
  }
});

server.listen(0, "127.0.0.1", () => console.log(`PORT ${server.address().port}`));
