// Counts the bytes of typed arrays asked for, in place of watching the process: what is asked for and never touched
// takes no memory here, but is a promise that another machine may have to keep.

let total = 0;

const arrays = ["Uint8Array", "Int8Array", "Uint16Array", "Int16Array", "Uint32Array", "Int32Array", "Float32Array"];
const names = [...arrays, "Float64Array", "BigInt64Array", "BigUint64Array"];

function watch(name: string): void {
  const scope = globalThis as unknown as Record<string, new (...args: unknown[]) => ArrayBufferView>;
  const original = scope[name];
  const each = (original as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT;
  scope[name] = new Proxy(original, {
    construct(target, args, newTarget) {
      const [first] = args;
      if (typeof first === "number") charge(first * each);
      else if (typeof first === "object" && first !== null && "length" in first) charge(Number(first.length) * each);
      return Reflect.construct(target, args, newTarget === scope[name] ? target : newTarget);
    },
  });
}

/** Where nothing may go on: no machine should be asked for this much while fuzzing. */
const REFUSED = 2 ** 32;

function charge(bytes: number): void {
  total += bytes;
  if (bytes > REFUSED) throw new Error(`an allocation of ${bytes} bytes was asked for`);
}

let watching = false;

/** What `work` asked for, in bytes. */
export async function allocated(work: () => unknown): Promise<number> {
  if (!watching) for (const name of names) watch(name);
  watching = true;
  total = 0;
  await work();
  return total;
}
