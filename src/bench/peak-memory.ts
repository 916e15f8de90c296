import { readFileSync } from "node:fs";

/** The most memory in bytes that this process has held at once. */
export function peakMemory(): number {
  try {
    // On Linux resourceUsage() counts in what the process that started this one held.
    const line = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"));
    if (line) return Number(line[1]) * 1024;
  } catch {
    // no /proc here
  }
  return process.resourceUsage().maxRSS * 1024;
}
