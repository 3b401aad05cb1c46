// Keeps this process on loopback: a name other than localhost resolves to nothing, at once.
//
// @x402/stellar asks the public Horizon how long a ledger takes, at an address that nobody can set, and takes 5 seconds for
// granted when it cannot be reached. Without this, tests would depend on the internet, or hang where packets are dropped.

import dns from "node:dns";

const lookup = dns.lookup;

dns.lookup = (hostname, options, callback) => {
  if (hostname === "localhost" || /^[0-9.]+$/.test(hostname) || hostname.includes(":")) {
    return lookup(hostname, options, callback);
  }
  const error = new Error(`getaddrinfo ENOTFOUND ${hostname} (only loopback is reached in tests)`);
  const done = typeof options === "function" ? options : callback;
  process.nextTick(done, Object.assign(error, { code: "ENOTFOUND", syscall: "getaddrinfo", hostname }));
};
