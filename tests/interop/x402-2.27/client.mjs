// The reference client at 2.27.0 with the only published Stellar scheme: pays URL with CLIENT_SECRET. See ../shared/pay.mjs.
//
// Its spend controls know the default assets of a scheme, and this scheme names none: they must be opened, or every payment
// is refused on the client's side.

import "../shared/offline.mjs";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createEd25519Signer } from "@x402/stellar";
import { ExactStellarScheme } from "@x402/stellar/exact/client";
import { pay } from "../shared/pay.mjs";

const signer = createEd25519Signer(process.env.CLIENT_SECRET, "stellar:testnet");
const scheme = new ExactStellarScheme(signer, { url: process.env.STELLAR_RPC_TLS_URL });
const client = new x402Client().register("stellar:*", scheme);
client.setSpendControls(false);
await pay(wrapFetchWithPayment(fetch, client));
