import { element, setText, show } from "./elements.js";
import { exposuresView } from "./exposures-view.js";
import type { HostAdapter } from "./host.js";
import { resultView } from "./result-view.js";
import { Session } from "./session.js";
import { choicesView, workView } from "./work-view.js";

/** Puts the panel into `root` and connects it. */
export function startPanel(root: HTMLElement, host: HostAdapter): Session {
  const session = new Session(host);
  const state = element("span", { class: "state", role: "status" });
  const problem = element("p", {});
  const again = element("button", { type: "button", click: () => void session.connect() }, "Try again");
  const unconnected = element("section", { class: "unconnected", role: "alert" }, problem, again);
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
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && session.work) session.cancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void session.mergeAll();
  });
  update();
  void session.connect();
  return session;
}
