// The reference client at 2.9.0, unmodified: pays URL with CLIENT_SECRET over STELLAR_RPC_TLS_URL. See ../shared/pay.mjs.

import "../shared/offline.mjs";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createEd25519Signer } from "@x402/stellar";
import { ExactStellarScheme } from "@x402/stellar/exact/client";
import { pay } from "../shared/pay.mjs";

const signer = createEd25519Signer(process.env.CLIENT_SECRET, "stellar:testnet");
const scheme = new ExactStellarScheme(signer, { url: process.env.STELLAR_RPC_TLS_URL });
await pay(wrapFetchWithPayment(fetch, new x402Client().register("stellar:*", scheme)));
