import * as sdk from "@stellar/stellar-sdk";
import { run } from "../shared/checks.mjs";
import { lens } from "../shared/class-lens.mjs";

await run(sdk, lens);
