import { element, setText, show } from "./elements.js";
import { exposuresView } from "./exposures-view.js";
import type { HostAdapter } from "./host.js";
import { resultView } from "./result-view.js";
import { messageOf, Session } from "./session.js";
import { choicesView, workView } from "./work-view.js";

/** Puts the panel into `root` and connects it. */
export function startPanel(root: HTMLElement, host: HostAdapter): Session {
  const session = new Session(host);
  const state = element("span", { class: "state", role: "status" });
  const problem = element("p", {});
  const again = element("button", { type: "button", click: () => void session.connect() }, "Try again");
  const unconnected = element("section", { class: "unconnected", role: "alert" }, problem);
  if (host.enterAddress) unconnected.append(addressField(session));
  unconnected.append(again);
  const views = [exposuresView(session), choicesView(session), workView(session), resultView(session)];
  const [exposures, choices, work, result] = views.map((view) => view.root);
  const side = element("div", { class: "side" }, exposures, choices, work);
  root.replaceChildren(
    element("header", {}, element("h1", {}, "smhdr"), state),
    unconnected,
    element("main", { class: "columns" }, side, result),
  );

  let waiting = false;
  const update = () => {
    waiting = false;
    const { client, connectionProblem } = session;
    setText(state, client ? "connected" : connectionProblem ? "not connected" : "connecting...");
    state.classList.toggle("ok", client !== undefined);
    setText(problem, connectionProblem ?? "");
    show(unconnected, connectionProblem !== undefined);
    for (const view of views) view.update();
  };
  session.onChange(() => {
    if (waiting) return;
    waiting = true;
    setTimeout(update, 0);
  });
  // Of the document: the focus may be on nothing, say after a button that vanished.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && session.work) session.cancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void session.mergeAll();
  });
  update();
  void session.connect();
  return session;
}

/** Where the address that the service printed can be pasted, for hosts that may fail to find it. */
function addressField(session: Session): HTMLElement {
  const input = element("input", { type: "text", placeholder: "http://127.0.0.1:27180/#token=..." });
  input.addEventListener("change", () => {
    try {
      session.host.enterAddress?.(input.value);
      void session.connect();
    } catch (error) {
      session.connectionProblem = messageOf(error);
      session.changed();
    }
  });
  return element("label", { class: "field" }, element("span", {}, "If it runs: the address that it printed"), input);
}
