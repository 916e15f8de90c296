import { startPanel } from "../panel/panel.js";
import { BrowserHost } from "./browser-host.js";

const root = document.getElementById("panel");
if (root) {
  const host = new BrowserHost();
  const session = startPanel(root, host);
  const holdsFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    host.addFiles([...(event.dataTransfer?.files ?? [])]);
  });
  window.addEventListener("pagehide", () => void session.close());
  // Pasting another address of a new start of the service into this tab.
  window.addEventListener("hashchange", () => void session.connect());
}
