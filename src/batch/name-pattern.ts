import { basename, extname } from "node:path";
import { SmhdrError } from "../errors.js";
import { byName } from "./by-name.js";
import type { FoundPhotograph, LeftPhotograph } from "./photographs.js";

/** Photographs whose names belong together, with the exposure values that the names state. */
export interface NamedBracket {
  readonly name: string;
  readonly photographs: readonly FoundPhotograph[];
  readonly ev?: readonly number[];
}

const PLACES: Readonly<Record<string, string>> = {
  "{bracket}": "(?<bracket>.+?)",
  "{exposure}": "(?<exposure>[^/]+?)",
  "{ev}": "(?<ev>[+-]?\\d+(?:\\.\\d+)?)",
  "*": "[^/]*",
};

/**
 * Groups photographs by their names: those with the same {bracket} are one. {exposure} stands for what differs, {ev} for an exposure value in
 * stops, * for anything but "/". A pattern with "/" is for the path from the folder searched, one without for the
 * name alone, within its folder; the extension may be left out. Photographs of two folders searched are never one bracket.
 * @throws SmhdrError INVALID_ARGUMENT for a pattern without {bracket} or with a place twice.
 */
export function groupByName(
  photographs: readonly FoundPhotograph[],
  pattern: string,
): { readonly brackets: NamedBracket[]; readonly left: LeftPhotograph[] } {
  const expression = compile(pattern);
  const whole = pattern.includes("/");
  const groups = new Map<string, { name: string; photograph: FoundPhotograph; ev: number | undefined }[]>();
  const left: LeftPhotograph[] = [];
  for (const photograph of photographs) {
    const name = whole ? photograph.relative : basename(photograph.relative);
    const bare = name.slice(0, name.length - extname(name).length);
    const match = expression.exec(name) ?? expression.exec(bare);
    if (!match?.groups) {
      left.push({ path: photograph.path, reason: `its name is not like ${pattern}` });
      continue;
    }
    const folder = whole ? "" : photograph.relative.slice(0, photograph.relative.length - name.length);
    const searched = photograph.path.slice(0, photograph.path.length - photograph.relative.length);
    const member = {
      name: `${folder}${match.groups.bracket}`,
      photograph,
      ev: match.groups.ev === undefined ? undefined : Number(match.groups.ev),
    };
    const key = `${searched}${member.name}`;
    const group = groups.get(key);
    if (group) group.push(member);
    else groups.set(key, [member]);
  }
  const brackets: NamedBracket[] = [];
  for (const members of groups.values()) {
    const [{ name }] = members;
    if (members.length === 1) {
      left.push({ path: members[0].photograph.path, reason: `the only one named like ${pattern} for "${name}"` });
      continue;
    }
    members.sort((a, b) => (a.ev ?? 0) - (b.ev ?? 0) || byName(a.photograph.path, b.photograph.path));
    const ev = members.map((member) => member.ev).filter((value) => value !== undefined);
    brackets.push({ name, photographs: members.map(({ photograph }) => photograph), ...(ev.length > 0 && { ev }) });
  }
  return { brackets: brackets.sort((a, b) => byName(a.name, b.name)), left };
}

function compile(pattern: string): RegExp {
  const parts = pattern.split(/(\{\w+\}|\*)/);
  const places = parts.filter((part) => part.startsWith("{"));
  const unknown = places.find((place) => !Object.hasOwn(PLACES, place));
  const twice = places.find((place, i) => places.indexOf(place) !== i);
  if (unknown || twice || !places.includes("{bracket}")) {
    const why = unknown ? `${unknown} is unknown` : twice ? `${twice} comes twice` : "it has no {bracket}";
    throw new SmhdrError(
      "INVALID_ARGUMENT",
      `pattern: expected {bracket} and possibly {exposure}, {ev} and *; got "${pattern}": ${why}.`,
    );
  }
  const quote = (text: string) => text.replace(/[.+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${parts.map((part) => PLACES[part] ?? quote(part)).join("")}$`);
}
