import type { WorkOptions, WorkPlan } from "./budget.js";
import type { Executor } from "./executor.js";
import { BracketPool } from "./pool.js";
import type { MergeSettings } from "./task.js";

/**
 * Merges on this machine, in processes that share its memory and threads.
 * @throws SmhdrError as planWork does, and as Reconstructor.load where a model or the native part is missing.
 */
export async function localExecutor(
  settings: MergeSettings,
  options: WorkOptions = {},
): Promise<{ readonly executor: Executor; readonly plan: WorkPlan; readonly notes: readonly string[] }> {
  const pool = new BracketPool(settings, options);
  try {
    const notes = await pool.check(settings);
    const executor: Executor = {
      capacity: pool.plan.jobs + 1, // one is looked at while the others are in work
      remote: false,
      run: (task, runOptions) => pool.run(task, runOptions),
      engineSeconds: () => (pool.network ? pool.engineSeconds / pool.devices : undefined),
      close: () => pool.close(),
    };
    return { executor, plan: pool.plan, notes };
  } catch (error) {
    await pool.close();
    throw error;
  }
}
