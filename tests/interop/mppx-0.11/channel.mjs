// The client of mppx at 0.11.0, unmodified: pays URL out of CHANNEL with COMMITMENT_SECRET. See ../shared/mppx-channel.mjs.

import "../shared/offline.mjs";
import * as sdk from "@stellar/stellar-sdk";
import * as mppx from "mppx";
import * as client from "mppx/client";
import { payOutOfChannel } from "../shared/mppx-channel.mjs";

await payOutOfChannel(mppx, client, sdk);
