// How the client of mppx behaves at 0.6.31. See ../shared/mppx-checks.mjs.

import "../shared/offline.mjs";
import * as sdk from "@stellar/stellar-sdk";
import * as mppx from "mppx";
import * as client from "mppx/client";
import { run } from "../shared/mppx-checks.mjs";

await run(mppx, client, sdk, {
  // How often it pays, at most, while it is answered 402.
  attempts: 1,
  // What comes of a description that says "Payment for API".
  described: "Error: Unterminated quoted-string.",
  // What comes of an x402 offer on a network that it does not know.
  otherRail: "InvalidJsonHeaderError: Invalid base64 JSON header.",
  // It knows challenges that ask for the credential in another header.
  alternateHeader: false,
});
