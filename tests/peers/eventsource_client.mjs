// Follows one job as a browser's EventSource does and prints its durable events, one JSON object a line. Ends when the
// worker says that there is nothing more to come.
//
// usage: eventsource_client.mjs FOLDER_WITH_NODE_MODULES HOST:PORT JOB_ID

import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, address, job] = process.argv.slice(2);
const { EventSource } = createRequire(join(folder, "package.json"))("eventsource");

const DURABLE = ["queued", "started", "image", "succeeded", "failed", "canceled", "superseded"];
let connections = 0;
const events = new EventSource(`http://${address}/v1/jobs/${job}/stream`);
events.addEventListener("open", () => (connections += 1));
for (const name of DURABLE) {
  events.addEventListener(name, ({ data, lastEventId }) => {
    const event = JSON.parse(data);
    if (event.seq === undefined) return;
    if (String(event.seq) !== lastEventId || event.type !== name) throw new Error(`${name} ${lastEventId}: ${data}`);
    console.log(data);
  });
}
events.addEventListener("error", () => {
  if (events.readyState !== EventSource.CLOSED) return;
  console.error(`${connections} connections`);
  process.exit(0);
});
