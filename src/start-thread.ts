import { Worker, type WorkerOptions } from "node:worker_threads";

/** Starts a thread on a module of this package, given as the URL of the compiled file beside the caller. */
export function startThread(script: URL, options: WorkerOptions = {}): Worker {
  if (!import.meta.url.endsWith(".ts")) return new Worker(script, options);
  // Run uncompiled (by tsx, in tests), a thread has to be taught TypeScript first.
  const source = JSON.stringify(script.href.replace(/\.js$/, ".ts"));
  const teach = `import("tsx/esm/api").then(({ register }) => { register(); return import(${source}); });`;
  return new Worker(teach, { ...options, eval: true });
}
