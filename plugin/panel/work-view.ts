import { element, select, setText, show } from "./elements.js";
import type { Choices, Session } from "./session.js";

/** How to merge: method, model, and what few people change. */
export function choicesView(session: Session): { readonly root: HTMLElement; update(): void } {
  const { choices, host } = session;
  const set =
    <K extends keyof Choices>(name: K) =>
    (value: string) => {
      choices[name] = value as Choices[K];
      session.changed();
    };
  const method = select(
    "Method",
    [
      ["radiance", "Radiance merge"],
      ["network", "Network (slower)"],
    ],
    choices.method,
    set("method"),
  );
  const model = select("Model", [], "", set("model"));
  const align = select(
    "Camera",
    [
      ["auto", "Align, follow what moved"],
      ["none", "Leave as it is"],
    ],
    choices.align,
    set("align"),
  );
  const precision = select(
    "Precision",
    [
      ["auto", "Automatic"],
      ["fp32", "32 bits (exact)"],
      ["bf16", "16 bits (fast)"],
    ],
    choices.precision,
    set("precision"),
  );
  const delivery = select(
    "Result",
    host.deliveries.map(({ id, label }) => [id, label] as const),
    choices.delivery,
    set("delivery"),
  );
  const fields = element("div", { class: "fields" }, method.field, model.field, precision.field, align.field);
  if (host.deliver === "at once") fields.append(delivery.field);
  let models: Session["models"] = [];
  return {
    root: element("section", { class: "choices" }, element("h2", {}, "Merge"), fields),
    update() {
      if (models !== session.models) {
        models = session.models;
        const options = models.map(({ name, exposures }) =>
          element("option", { value: name }, `${name} (${exposures.join(", ")} exposures)`),
        );
        model.input.replaceChildren(...options);
      }
      if (choices.model !== null) model.input.value = choices.model;
      const network = choices.method === "network";
      show(model.field, network);
      show(precision.field, network);
      for (const { input } of [method, model, align, precision, delivery]) input.disabled = session.work !== undefined;
    },
  };
}

/** The two buttons, what is going on, and what went wrong. */
export function workView(session: Session): { readonly root: HTMLElement; update(): void } {
  const preview = element("button", { type: "button", click: () => void session.preview() }, "Preview");
  const merge = element("button", { type: "button", class: "primary", click: () => void session.mergeAll() }, "Merge");
  const cancel = element("button", { type: "button", click: () => session.cancel() }, "Cancel");
  const bar = element("progress", { max: 1 });
  const what = element("span", { class: "what" });
  const working = element("div", { class: "working" }, bar, what, cancel);
  const error = element("p", { class: "error", role: "alert" });
  const message = element("p", { class: "message", role: "status" });
  const notes = element("ul", { class: "notes", "aria-label": "Notes" });
  let shownNotes = "";
  return {
    root: element(
      "section",
      { class: "work" },
      element("div", { class: "buttons" }, preview, merge),
      working,
      error,
      message,
      notes,
    ),
    update() {
      const { work, client, exposures } = session;
      const ready = client !== undefined && !work && exposures.ticked.length >= 2;
      preview.disabled = !ready;
      merge.disabled = !ready;
      show(working, work !== undefined);
      if (work) {
        const { fraction } = work;
        if (fraction === undefined) bar.removeAttribute("value");
        else bar.value = fraction;
        const percent = fraction === undefined ? "" : ` ${Math.floor(fraction * 100)} %`;
        setText(what, `${work.what}${percent}`);
      }
      setText(error, session.error ?? "");
      show(error, session.error !== undefined);
      setText(message, session.message ?? "");
      show(message, session.message !== undefined);
      const all = [...exposures.ticked.flatMap(({ note }) => note ?? []), ...session.notes];
      if (shownNotes !== all.join("\n")) {
        shownNotes = all.join("\n");
        notes.replaceChildren(...all.map((note) => element("li", {}, note)));
      }
      show(notes, all.length > 0);
    },
  };
}
