type Attributes = Readonly<Record<string, string | number | boolean | undefined | ((event: Event) => void)>>;

/** An element with attributes, listeners (functions, by the event's name) and children. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children);
  return made;
}

/** Shows or hides; UXP knows no `hidden` attribute on some elements, a class works everywhere. */
export function show(target: HTMLElement, visible: boolean): void {
  target.classList.toggle("hidden", !visible);
}

/** Sets text only where it changed: screen readers announce every change. */
export function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}

/** Labelled choices. */
export function select(
  label: string,
  choices: readonly (readonly [value: string, text: string])[],
  value: string,
  onChange: (value: string) => void,
): { readonly field: HTMLElement; readonly input: HTMLSelectElement } {
  const input = element("select", { change: () => onChange(input.value) });
  for (const [choice, text] of choices) input.append(element("option", { value: choice }, text));
  input.value = value;
  return { field: element("label", { class: "field" }, element("span", {}, label), input), input };
}
