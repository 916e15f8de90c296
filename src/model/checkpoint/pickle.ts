import { SmhdrError } from "../../errors.js";

/** Something a pickle may name, and what calling it with REDUCE makes; without `call` it can only be passed on. */
export interface PickleGlobal {
  readonly name: string;
  readonly call?: (args: readonly unknown[]) => unknown;
}

/** A dictionary of a pickle. */
export class PickleDictionary {
  // Made with the first entry: one byte of a pickle can ask for a dictionary, and an empty Map takes 200.
  private entriesMade: Map<unknown, unknown> | undefined;
  get entries(): ReadonlyMap<unknown, unknown> {
    return this.entriesMade ?? nothing;
  }
  set(key: unknown, value: unknown): void {
    this.entriesMade ??= new Map();
    this.entriesMade.set(key, value);
  }
}
const nothing: ReadonlyMap<unknown, unknown> = new Map();

export interface PickleHost {
  /** By "module name". Whatever is not here is refused. */
  readonly globals: ReadonlyMap<string, PickleGlobal>;
  /** What a persistent id (BINPERSID) stands for. */
  persistent(id: unknown): unknown;
}

/**
 * Real checkpoints of this network take some 50 thousand operations with their optimiser's state. The limit keeps what a hostile file
 * can make (at most a small object an operation) within some hundred megabytes and a second.
 */
const MAX_OPERATIONS = 1 << 22;

/** Why a file is no checkpoint we read: damaged. */
export const damaged = (why: string): SmhdrError => new SmhdrError("BAD_INPUT", `The checkpoint is damaged: ${why}.`);

const MARK = Symbol("mark");

/**
 * Reads one pickle (Python's pickletools describes the format) made of dictionaries, lists, tuples, text, numbers and what `host`
 * knows. It is a reader of data: it executes nothing, and takes time and memory in proportion to the bytes read.
 * Lists and tuples become arrays, dictionaries PickleDictionary, integers beyond 2^53 bigint.
 * @returns the value and the offset after the pickle.
 * @throws SmhdrError BAD_INPUT where the bytes are damaged, UNSUPPORTED naming the first operation or global outside that set.
 */
export function unpickle(bytes: Uint8Array, start: number, host: PickleHost): { value: unknown; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: unknown[] = [];
  const marks: number[] = [];
  const memo = new Map<number, unknown>();
  let at = start;
  let operations = 0;

  const charge = (work: number) => {
    operations += work;
    if (operations > MAX_OPERATIONS)
      throw new SmhdrError("UNSUPPORTED", `The checkpoint's structure takes more than ${MAX_OPERATIONS} operations.`);
  };
  /** Moves over `count` bytes and returns where they start. */
  const take = (count: number): number => {
    if (count < 0 || count > bytes.length - at)
      throw damaged(`it ends within its structure (byte ${at} of ${bytes.length})`);
    at += count;
    return at - count;
  };
  const text = (length: number): string => {
    const from = take(length);
    return Buffer.from(bytes.buffer, bytes.byteOffset + from, length).toString("utf8");
  };
  /** A line of GLOBAL: names are short. */
  const line = (): string => {
    const end = bytes.subarray(at, at + 200).indexOf(10);
    if (end < 0) throw damaged(`a name without an end at byte ${at}`);
    const read = text(end);
    take(1);
    return read;
  };
  const pop = (): unknown => {
    if (stack.length === 0 || stack[stack.length - 1] === MARK) throw damaged(`nothing to take at byte ${at - 1}`);
    return stack.pop();
  };
  const top = (): unknown => {
    const value = pop();
    stack.push(value);
    return value;
  };
  const popMark = (): unknown[] => {
    const from = marks.pop();
    if (from === undefined) throw damaged(`no mark at byte ${at - 1}`);
    const items = stack.splice(from);
    items.shift(); // the mark itself
    return items;
  };
  const tuple = (count: number) => {
    const items = Array.from({ length: count }, pop);
    stack.push(items.reverse());
  };
  const recall = (index: number) => {
    if (!memo.has(index)) throw damaged(`it refers to ${index}, which was never stored`);
    stack.push(memo.get(index));
  };
  const list = (): unknown[] => {
    const value = top();
    if (!Array.isArray(value)) throw damaged(`no list to append to at byte ${at - 1}`);
    return value;
  };
  const dictionary = (): PickleDictionary => {
    const value = top();
    if (!(value instanceof PickleDictionary)) throw damaged(`no dictionary to fill at byte ${at - 1}`);
    return value;
  };
  const global = (module: unknown, name: unknown) => {
    if (typeof module !== "string" || typeof name !== "string")
      throw damaged(`a name that is no text at byte ${at - 1}`);
    const full = `${module} ${name}`;
    const known = host.globals.get(full);
    if (!known)
      throw new SmhdrError(
        "UNSUPPORTED",
        `The checkpoint holds a Python object of type ${JSON.stringify(full.slice(0, 100).replace(" ", "."))}; only tensors, ` +
          "dictionaries, lists and numbers are read, nothing is executed. In PyTorch, save model.state_dict() alone.",
      );
    stack.push(known);
  };

  const operation: Record<number, () => void> = {
    128: () => {
      // PROTO
      const version = bytes[take(1)];
      if (version > 5) throw new SmhdrError("UNSUPPORTED", `Pickle protocol ${version} is not read (2 to 5 are).`);
    },
    149: () => void take(8), // FRAME: only a hint for buffered reading
    40: () => {
      // MARK
      marks.push(stack.length);
      stack.push(MARK);
    },
    125: () => void stack.push(new PickleDictionary()), // EMPTY_DICT
    93: () => void stack.push([]), // EMPTY_LIST
    41: () => void stack.push([]), // EMPTY_TUPLE
    116: () => void stack.push(popMark()), // TUPLE
    133: () => tuple(1), // TUPLE1
    134: () => tuple(2), // TUPLE2
    135: () => tuple(3), // TUPLE3
    97: () => {
      // APPEND
      const value = pop();
      list().push(value);
    },
    101: () => {
      // APPENDS
      const items = popMark();
      const into = list();
      for (const item of items) into.push(item);
    },
    115: () => {
      // SETITEM
      const value = pop();
      const key = pop();
      dictionary().set(key, value);
    },
    117: () => {
      // SETITEMS
      const items = popMark();
      if (items.length % 2 !== 0) throw damaged(`a key without its value at byte ${at - 1}`);
      const into = dictionary();
      for (let i = 0; i < items.length; i += 2) into.set(items[i], items[i + 1]);
    },
    78: () => void stack.push(null), // NONE
    136: () => void stack.push(true), // NEWTRUE
    137: () => void stack.push(false), // NEWFALSE
    74: () => void stack.push(view.getInt32(take(4), true)), // BININT
    75: () => void stack.push(bytes[take(1)]), // BININT1
    77: () => void stack.push(view.getUint16(take(2), true)), // BININT2
    138: () => {
      // LONG1
      const length = bytes[take(1)];
      const from = take(length);
      let value = 0n;
      for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]);
      value = BigInt.asIntN(8 * length, value);
      const number = Number(value);
      stack.push(Number.isSafeInteger(number) ? number : value);
    },
    71: () => void stack.push(view.getFloat64(take(8), false)), // BINFLOAT
    88: () => void stack.push(text(view.getUint32(take(4), true))), // BINUNICODE
    140: () => void stack.push(text(bytes[take(1)])), // SHORT_BINUNICODE
    85: () => void stack.push(text(bytes[take(1)])), // SHORT_BINSTRING: Python 2's text
    99: () => global(line(), line()), // GLOBAL
    147: () => {
      // STACK_GLOBAL
      const name = pop();
      global(pop(), name);
    },
    82: () => {
      // REDUCE
      const args = pop();
      const callee = pop() as Partial<PickleGlobal> | null;
      if (!Array.isArray(args)) throw damaged(`a call without arguments at byte ${at - 1}`);
      if (typeof callee?.call !== "function") throw damaged(`a call of what cannot be called at byte ${at - 1}`);
      // The same arguments can be passed again and again: what reads them all pays for them all.
      charge(args.length);
      stack.push(callee.call(args));
    },
    98: () => {
      // BUILD: attributes of a state dictionary (its _metadata), which nothing here needs
      pop();
      dictionary();
    },
    113: () => void memo.set(bytes[take(1)], top()), // BINPUT
    114: () => void memo.set(view.getUint32(take(4), true), top()), // LONG_BINPUT
    148: () => void memo.set(memo.size, top()), // MEMOIZE
    104: () => recall(bytes[take(1)]), // BINGET
    106: () => recall(view.getUint32(take(4), true)), // LONG_BINGET
    81: () => void stack.push(host.persistent(pop())), // BINPERSID
  };

  for (;;) {
    const code = bytes[take(1)];
    if (code === 0x2e) {
      // STOP
      const value = pop();
      if (stack.length > 0) throw damaged("it stops with values left over");
      return { value, end: at };
    }
    const perform = operation[code];
    if (!perform)
      throw new SmhdrError(
        "UNSUPPORTED",
        `The checkpoint uses the pickle operation ${names[code] ?? `0x${code.toString(16)}`} (byte ${at - 1}), which ` +
          "tensors and dictionaries do not need; nothing of it is read.",
      );
    charge(1);
    perform();
  }
}

/** The operations that are refused, for the message. */
const names: Record<number, string> = {
  48: "POP",
  49: "POP_MARK",
  50: "DUP",
  66: "BINBYTES",
  67: "SHORT_BINBYTES",
  70: "FLOAT",
  73: "INT",
  76: "LONG",
  80: "PERSID",
  83: "STRING",
  84: "BINSTRING",
  86: "UNICODE",
  100: "DICT",
  103: "GET",
  105: "INST",
  108: "LIST",
  111: "OBJ",
  112: "PUT",
  129: "NEWOBJ",
  130: "EXT1",
  131: "EXT2",
  132: "EXT4",
  139: "LONG4",
  141: "BINUNICODE8",
  142: "BINBYTES8",
  143: "EMPTY_SET",
  144: "ADDITEMS",
  145: "FROZENSET",
  146: "NEWOBJ_EX",
  150: "BYTEARRAY8",
  151: "NEXT_BUFFER",
  152: "READONLY_BUFFER",
};
