import { SmhdrError } from "../../errors.js";

/** Something a pickle may name, and what calling it with REDUCE makes; without `call` it can only be passed on. */
export interface PickleGlobal {
  readonly name: string;
  readonly call?: (args: readonly unknown[]) => unknown;
}

// One byte of a pickle can ask for a list or a dictionary: these take no more memory than what is in them, where an array
// makes room for 17 values with the first one pushed, and a Map takes 200 bytes.

/** A list of a pickle. */
export class PickleList {
  items: unknown[] | undefined;
  append(values: unknown[]): void {
    if (!this.items) this.items = values;
    else for (const value of values) this.items.push(value);
  }
}

/** A dictionary of a pickle. */
export class PickleDictionary {
  private readonly pairs = new PickleList();
  private map: ReadonlyMap<unknown, unknown> | undefined;
  get entries(): ReadonlyMap<unknown, unknown> {
    if (!this.map) {
      const map = new Map<unknown, unknown>();
      const { items = [] } = this.pairs;
      for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
      this.map = map;
    }
    return this.map;
  }
  /** Keys and values in turn. Nothing may be set once the entries were read. */
  set(pairs: unknown[]): void {
    this.pairs.append(pairs);
  }
}

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
 * Tuples become arrays, lists PickleList, dictionaries PickleDictionary, integers beyond 2^53 bigint.
 * @returns the value and the offset after the pickle.
 * @throws SmhdrError BAD_INPUT where the bytes are damaged, UNSUPPORTED naming the first operation or global outside that set.
 */
export function unpickle(bytes: Uint8Array, start: number, host: PickleHost): { value: unknown; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: unknown[] = [];
  const marks: number[] = [];
  const memo: unknown[] = []; // by number where they count up, as they do
  const furtherMemo = new Map<number, unknown>();
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
  const remember = (index: number) => {
    if (index < memo.length) memo[index] = top();
    else if (index === memo.length) memo.push(top());
    else furtherMemo.set(index, top());
  };
  const recall = (index: number) => {
    if (index >= memo.length && !furtherMemo.has(index)) throw damaged(`it refers to ${index}, which was never stored`);
    stack.push(index < memo.length ? memo[index] : furtherMemo.get(index));
  };
  const list = (): PickleList => {
    const value = top();
    if (!(value instanceof PickleList)) throw damaged(`no list to append to at byte ${at - 1}`);
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

  const operation: Record<string, () => void> = {
    PROTO: () => {
      const version = bytes[take(1)];
      if (version > 5) throw new SmhdrError("UNSUPPORTED", `Pickle protocol ${version} is not read (2 to 5 are).`);
    },
    FRAME: () => void take(8), // only a hint for buffered reading
    MARK: () => {
      marks.push(stack.length);
      stack.push(MARK);
    },
    EMPTY_DICT: () => void stack.push(new PickleDictionary()),
    EMPTY_LIST: () => void stack.push(new PickleList()),
    EMPTY_TUPLE: () => void stack.push([]),
    TUPLE: () => void stack.push(popMark()),
    TUPLE1: () => tuple(1),
    TUPLE2: () => tuple(2),
    TUPLE3: () => tuple(3),
    APPEND: () => {
      const value = pop();
      list().append([value]);
    },
    APPENDS: () => {
      const items = popMark();
      list().append(items);
    },
    SETITEM: () => {
      const value = pop();
      const key = pop();
      dictionary().set([key, value]);
    },
    SETITEMS: () => {
      const items = popMark();
      if (items.length % 2 !== 0) throw damaged(`a key without its value at byte ${at - 1}`);
      dictionary().set(items);
    },
    NONE: () => void stack.push(null),
    NEWTRUE: () => void stack.push(true),
    NEWFALSE: () => void stack.push(false),
    BININT: () => void stack.push(view.getInt32(take(4), true)),
    BININT1: () => void stack.push(bytes[take(1)]),
    BININT2: () => void stack.push(view.getUint16(take(2), true)),
    LONG1: () => {
      const length = bytes[take(1)];
      const from = take(length);
      let value = 0n;
      for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]);
      value = BigInt.asIntN(8 * length, value);
      const number = Number(value);
      stack.push(Number.isSafeInteger(number) ? number : value);
    },
    BINFLOAT: () => void stack.push(view.getFloat64(take(8), false)),
    BINUNICODE: () => void stack.push(text(view.getUint32(take(4), true))),
    SHORT_BINUNICODE: () => void stack.push(text(bytes[take(1)])),
    SHORT_BINSTRING: () => void stack.push(text(bytes[take(1)])), // Python 2's text
    GLOBAL: () => global(line(), line()),
    STACK_GLOBAL: () => {
      const name = pop();
      global(pop(), name);
    },
    REDUCE: () => {
      const args = pop();
      const callee = pop() as Partial<PickleGlobal> | null;
      if (!Array.isArray(args)) throw damaged(`a call without arguments at byte ${at - 1}`);
      if (typeof callee?.call !== "function") throw damaged(`a call of what cannot be called at byte ${at - 1}`);
      // The same arguments can be passed again and again: what reads them all pays for them all.
      charge(args.length);
      stack.push(callee.call(args));
    },
    BUILD: () => {
      // Attributes of a state dictionary (its _metadata), which nothing here needs.
      pop();
      dictionary();
    },
    BINPUT: () => remember(bytes[take(1)]),
    LONG_BINPUT: () => remember(view.getUint32(take(4), true)),
    MEMOIZE: () => remember(memo.length + furtherMemo.size),
    BINGET: () => recall(bytes[take(1)]),
    LONG_BINGET: () => recall(view.getUint32(take(4), true)),
    BINPERSID: () => void stack.push(host.persistent(pop())),
  };

  for (;;) {
    const code = bytes[take(1)];
    const name = names.get(code) ?? `0x${code.toString(16)}`;
    if (name === "STOP") {
      const value = pop();
      if (stack.length > 0) throw damaged("it stops with values left over");
      return { value, end: at };
    }
    const perform = operation[name];
    if (!perform)
      throw new SmhdrError(
        "UNSUPPORTED",
        `The checkpoint uses the pickle operation ${name} (byte ${at - 1}), which ` +
          "tensors and dictionaries do not need; nothing of it is read.",
      );
    charge(1);
    perform();
  }
}

/** Every operation by its code. */
const names: ReadonlyMap<number, string> = new Map([
  [0x28, "MARK"],
  [0x29, "EMPTY_TUPLE"],
  [0x2e, "STOP"],
  [0x30, "POP"],
  [0x31, "POP_MARK"],
  [0x32, "DUP"],
  [0x42, "BINBYTES"],
  [0x43, "SHORT_BINBYTES"],
  [0x46, "FLOAT"],
  [0x47, "BINFLOAT"],
  [0x49, "INT"],
  [0x4a, "BININT"],
  [0x4b, "BININT1"],
  [0x4c, "LONG"],
  [0x4d, "BININT2"],
  [0x4e, "NONE"],
  [0x50, "PERSID"],
  [0x51, "BINPERSID"],
  [0x52, "REDUCE"],
  [0x53, "STRING"],
  [0x54, "BINSTRING"],
  [0x55, "SHORT_BINSTRING"],
  [0x56, "UNICODE"],
  [0x58, "BINUNICODE"],
  [0x5d, "EMPTY_LIST"],
  [0x61, "APPEND"],
  [0x62, "BUILD"],
  [0x63, "GLOBAL"],
  [0x64, "DICT"],
  [0x65, "APPENDS"],
  [0x67, "GET"],
  [0x68, "BINGET"],
  [0x69, "INST"],
  [0x6a, "LONG_BINGET"],
  [0x6c, "LIST"],
  [0x6f, "OBJ"],
  [0x70, "PUT"],
  [0x71, "BINPUT"],
  [0x72, "LONG_BINPUT"],
  [0x73, "SETITEM"],
  [0x74, "TUPLE"],
  [0x75, "SETITEMS"],
  [0x7d, "EMPTY_DICT"],
  [0x80, "PROTO"],
  [0x81, "NEWOBJ"],
  [0x82, "EXT1"],
  [0x83, "EXT2"],
  [0x84, "EXT4"],
  [0x85, "TUPLE1"],
  [0x86, "TUPLE2"],
  [0x87, "TUPLE3"],
  [0x88, "NEWTRUE"],
  [0x89, "NEWFALSE"],
  [0x8a, "LONG1"],
  [0x8b, "LONG4"],
  [0x8c, "SHORT_BINUNICODE"],
  [0x8d, "BINUNICODE8"],
  [0x8e, "BINBYTES8"],
  [0x8f, "EMPTY_SET"],
  [0x90, "ADDITEMS"],
  [0x91, "FROZENSET"],
  [0x92, "NEWOBJ_EX"],
  [0x93, "STACK_GLOBAL"],
  [0x94, "MEMOIZE"],
  [0x95, "FRAME"],
  [0x96, "BYTEARRAY8"],
  [0x97, "NEXT_BUFFER"],
  [0x98, "READONLY_BUFFER"],
]);
