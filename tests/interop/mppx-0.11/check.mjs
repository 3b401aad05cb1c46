// How the client of mppx behaves at 0.11.0. See ../shared/mppx-checks.mjs.

import "../shared/offline.mjs";
import * as sdk from "@stellar/stellar-sdk";
import * as mppx from "mppx";
import * as client from "mppx/client";
import { run } from "../shared/mppx-checks.mjs";

await run(mppx, client, sdk, {
  // How often it pays, at most, while it is answered 402.
  attempts: 3,
  // What comes of a description that says "Payment for API".
  described: "200",
  // What comes of an x402 offer on a network that it does not know.
  otherRail: "200",
  // It knows challenges that ask for the credential in another header.
  alternateHeader: true,
});
