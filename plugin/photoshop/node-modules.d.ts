/** What UXP has of Node's modules, as far as it is used here. Paths are file: addresses. */
declare module "fs" {
  export function readFile(path: string, options: { encoding: "utf-8" }): Promise<string>;
}

declare module "os" {
  export function homedir(): string;
  export function platform(): string;
}
