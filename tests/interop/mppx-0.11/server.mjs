// The server of mppx at 0.11.0, unmodified. See ../shared/mppx-shop.mjs.

import "../shared/offline.mjs";
import * as sdk from "@stellar/stellar-sdk";
import * as mppx from "mppx";
import * as server from "mppx/server";
import { serve } from "../shared/mppx-shop.mjs";

await serve(mppx, server, sdk);
