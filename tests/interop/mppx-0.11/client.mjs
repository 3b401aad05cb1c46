// The client of mppx at 0.11.0, unmodified: pays URL with CLIENT_SECRET over STELLAR_RPC_TLS_URL. See ../shared/mppx-pay.mjs.

import "../shared/offline.mjs";
import * as sdk from "@stellar/stellar-sdk";
import * as mppx from "mppx";
import * as client from "mppx/client";
import { payWithMppx } from "../shared/mppx-pay.mjs";

await payWithMppx(mppx, client, sdk);
