// Loads the client and puts the page into the document; a separate file, so that no inline script is needed.
import load, { start } from "/client.js";

try {
  await load();
  start();
} catch (fault) {
  const text = document.createElement("p");
  text.className = "no-start";
  text.textContent = `This page could not start: ${fault.message ?? fault}. A current Chrome, Edge, Firefox or Safari runs it.`;
  document.body.append(text);
  throw fault;
}
