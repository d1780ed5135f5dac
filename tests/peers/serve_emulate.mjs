// A fake of Stripe Checkout on the port that the first argument names, until its stdin ends.

import { createEmulator } from "../../.tools/node/node_modules/emulate/dist/api.js";

await createEmulator({ service: "stripe", port: Number(process.argv[2]) });
process.stdin.resume().on("end", () => process.exit());
