// An upstream that says what it has read: `METHOD target length` for each whole request, after its port.
import http from "node:http";

const server = http.createServer((request, response) => {
  let length = 0;
  request.on("data", (data) => (length += data.length));
  request.on("end", () => {
    console.log(`${request.method} ${request.url} ${length}`);
    response.setHeader("content-length", 2);
    response.end("ok");
  });
  request.on("error", () => {});
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
