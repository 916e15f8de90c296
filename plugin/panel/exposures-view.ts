import { element, setText, show } from "./elements.js";
import type { Row } from "./exposures.js";
import type { Session } from "./session.js";

const SOURCES = { entered: "entered", name: "from the name", exif: "from EXIF", estimated: "estimated" } as const;

/** The list of exposures: which, with what exposure value, and which is the reference. */
export function exposuresView(session: Session): { readonly root: HTMLElement; update(): void } {
  const { host, exposures } = session;
  const list = element("div", { class: "rows", role: "list", "aria-label": host.words.many });
  const hint = element("p", { class: "hint" });
  const estimate = element("button", { type: "button", click: () => void session.estimate() }, "Find exposure values");
  const refresh = element("button", { type: "button", click: () => void session.refresh() }, "Read layers again");
  const tools = element("div", { class: "tools" });
  if (host.addFiles) tools.append(fileChooser(session));
  else tools.append(refresh);
  tools.append(estimate);
  const heading = element("h2", {}, "Exposures");
  const root = element("section", { class: "exposures" }, heading, tools, hint, list);

  const views = new Map<string, RowView>();
  return {
    root,
    update() {
      const { rows } = exposures;
      setText(heading, session.title ? `Exposures in ${session.title}` : "Exposures");
      for (const [id, view] of views) {
        if (rows.some((row) => row.id === id && row === view.row)) continue;
        view.root.remove();
        views.delete(id);
      }
      rows.forEach((row, i) => {
        const view = views.get(row.id) ?? new RowView(session, row);
        views.set(row.id, view);
        if (list.children[i] !== view.root) list.insertBefore(view.root, list.children[i] ?? null);
        view.update();
      });
      const ready = exposures.ticked.length >= 2;
      setText(hint, session.hint);
      show(hint, !ready && session.hint !== "");
      show(list, rows.length > 0);
      estimate.disabled = !ready || session.work !== undefined || !session.client;
    },
  };
}

class RowView {
  readonly root: HTMLElement;
  private readonly tick = element("input", { type: "checkbox" });
  private readonly picture = element("img", { class: "thumbnail", alt: "" });
  private readonly detail = element("span", { class: "detail" });
  private readonly value = element("input", { type: "text", inputmode: "decimal", class: "ev", placeholder: "auto" });
  private readonly source = element("span", { class: "source" });
  private readonly reference = element("input", { type: "radio", name: "reference" });

  constructor(
    private readonly session: Session,
    readonly row: Row,
  ) {
    const { host, exposures } = session;
    const { name, id } = row;
    const then = (change: () => void) => () => {
      change();
      session.changed();
    };
    this.tick.addEventListener(
      "change",
      then(() => exposures.tick(row, this.tick.checked)),
    );
    this.value.addEventListener(
      "change",
      then(() => exposures.enterValue(row, this.value.value)),
    );
    this.reference.addEventListener(
      "change",
      then(() => {
        exposures.reference = id;
      }),
    );
    this.value.setAttribute("aria-label", `Exposure value of ${name} in stops`);
    this.reference.setAttribute("aria-label", `${name} is the reference`);
    const name_ = element("span", { class: "name", title: name }, name);
    const about = element(
      "label",
      { class: "about" },
      this.tick,
      this.picture,
      element("span", { class: "text" }, name_, this.detail),
    );
    const ev = element("label", { class: "value" }, element("span", {}, "EV"), this.value, this.source);
    const reference = element(
      "label",
      { class: "reference", title: "The result shows the moment of this one" },
      this.reference,
      "reference",
    );
    this.root = element(
      "div",
      { class: "row", role: "listitem" },
      about,
      element("div", { class: "controls" }, ev, reference),
    );
    if (host.remove) {
      const remove = element(
        "button",
        { type: "button", class: "remove", "aria-label": `Remove ${name}`, title: "Remove" },
        "×",
      );
      remove.addEventListener("click", () => host.remove?.(id));
      this.root.append(remove);
    }
  }

  update(): void {
    const { row, session } = this;
    const usable = row.problem === undefined;
    const busy = session.work !== undefined;
    const on = usable && row.ticked;
    this.root.classList.toggle("off", !on);
    this.root.classList.toggle("bad", !usable);
    this.tick.checked = on;
    this.tick.disabled = !usable || busy;
    if (row.thumbnail && this.picture.getAttribute("src") !== row.thumbnail) this.picture.src = row.thumbnail;
    this.picture.classList.toggle("empty", !row.thumbnail);
    setText(this.detail, row.problem ?? row.detail);
    if (document.activeElement !== this.value) this.value.value = row.ev === undefined ? "" : signed(row.ev);
    this.value.disabled = !on || busy;
    setText(this.source, row.evSource ? SOURCES[row.evSource] : "");
    const { reference } = session.exposures;
    // Until the person says which, it is the middle one: known once something was merged.
    this.reference.checked = reference === undefined ? session.referenceRow === row : reference === row.id;
    this.reference.disabled = !on || busy;
  }
}

function signed(value: number): string {
  return value > 0 ? `+${value}` : `${value}`;
}

/** A button that chooses files; dropping them anywhere works too. */
function fileChooser(session: Session): HTMLElement {
  const { host } = session;
  const input = element("input", {
    type: "file",
    multiple: true,
    accept: "image/*,.tif,.tiff",
    class: "visually-hidden",
  });
  input.addEventListener("change", () => {
    host.addFiles?.([...(input.files ?? [])]);
    input.value = "";
  });
  const button = element(
    "button",
    { type: "button", class: "primary-outline", click: () => input.click() },
    "Choose photographs...",
  );
  input.tabIndex = -1;
  return element("span", {}, button, input);
}
