import { startPanel } from "../panel/panel.js";
import { PhotoshopHost } from "./photoshop-host.js";

const start = () => {
  const root = document.getElementById("panel");
  if (!root) return;
  const session = startPanel(root, new PhotoshopHost());
  window.addEventListener("pagehide", () => void session.close());
};
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
