import { element, setText, show } from "./elements.js";
import { messageOf, type Session } from "./session.js";

/** Stops that the slider reaches to either side. */
const REACH = 8;

/** The result at any exposure, beside the reference photograph, with the ghosts marked; and the ways to have it. */
export function resultView(session: Session): { readonly root: HTMLElement; update(): void } {
  const { host, shown } = session;
  const image = element("img", { class: "picture", alt: "" });
  const problem = element("p", { class: "error", role: "alert" });
  const caption = element("p", { class: "caption" });
  const slider = element("input", {
    type: "range",
    min: -REACH,
    max: REACH,
    step: 0.25,
    value: 0,
    "aria-label": "Exposure in stops",
  });
  const stops = element("output", { class: "stops" }, "0 EV");
  const ghosts = element("input", { type: "checkbox" });
  const before = element("input", { type: "checkbox" });
  const sliderField = element("label", { class: "slider" }, element("span", {}, "Exposure"), slider, stops);
  const ghostField = element("label", { class: "toggle" }, ghosts, "Mark ghosts");
  ghostField.title = "Where another exposure shows something else, and the reference was trusted";
  const beforeField = element("label", { class: "toggle" }, before, "Before: the reference photograph");
  const deliveries = element("div", { class: "deliveries" });
  for (const { id, label } of host.deliver === "ask" ? host.deliveries : []) {
    deliveries.append(element("button", { type: "button", click: () => void session.deliver(id) }, label));
  }
  const controls = element("div", { class: "controls" }, sliderField, ghostField, beforeField);
  const frame = element("div", { class: "frame" }, image);
  const root = element(
    "section",
    { class: "result" },
    element("h2", {}, "Result"),
    frame,
    caption,
    problem,
    controls,
    deliveries,
  );

  const pictures = latestOnly(
    () => session.picture(),
    (file) => {
      const old = image.getAttribute("src");
      if (file) image.src = host.imageAddress(file);
      if (old) host.releaseAddress(old);
      show(problem, false);
    },
    (error) => {
      setText(problem, messageOf(error));
      show(problem, true);
    },
  );
  const look = () => {
    setText(stops, `${shown.exposure > 0 ? "+" : ""}${shown.exposure} EV`);
    slider.disabled = shown.before;
    ghosts.disabled = shown.before;
    pictures();
  };
  slider.addEventListener("input", () => {
    shown.exposure = Number(slider.value);
    look();
  });
  ghosts.addEventListener("change", () => {
    shown.ghosts = ghosts.checked;
    look();
  });
  before.addEventListener("change", () => {
    shown.before = before.checked;
    look();
  });

  let version = 0;
  return {
    root,
    update() {
      const { result } = session;
      show(root, result !== undefined);
      if (!result) return;
      for (const button of deliveries.children) {
        (button as HTMLButtonElement).disabled = result.preview || session.work !== undefined;
      }
      if (version === session.version) return;
      version = session.version;
      const { width, height, method, model } = result.report;
      const how = method === "network" ? `network, model ${model}` : "radiance merge";
      const name = session.referenceRow?.name ?? "";
      setText(caption, `${result.preview ? "Preview" : "Merged"}: ${width} x ${height}, ${how}, reference ${name}`);
      image.alt = `The merged picture; it shows the moment of ${name}`;
      look();
    },
  };
}

/** Runs `work` for the latest call only: while one runs, one more is remembered. */
function latestOnly<T>(work: () => Promise<T>, done: (value: T) => void, failed: (error: unknown) => void): () => void {
  let running = false;
  let again = false;
  const run = async () => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      const value = await work();
      if (!again) done(value);
    } catch (error) {
      if (!again) failed(error);
    }
    running = false;
    if (again) {
      again = false;
      void run();
    }
  };
  return () => void run();
}
