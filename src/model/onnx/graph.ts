import { create } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
} from "onnx-buf";

/** Name of a tensor in the graph. */
export type Value = string;

export type Attribute = number | string | readonly number[];

export type ElementType = "float32" | "int32" | "int64" | "bool";

const elementTypes: Record<ElementType, TensorProto_DataType> = {
  float32: TensorProto_DataType.FLOAT,
  int32: TensorProto_DataType.INT32,
  int64: TensorProto_DataType.INT64,
  bool: TensorProto_DataType.BOOL,
};

/** Number ONNX gives an element type, as the operator Cast takes it. */
export function elementTypeCode(type: ElementType): number {
  return elementTypes[type];
}

/** Builds an ONNX graph node by node; every constant is stored once. */
export class GraphBuilder {
  private readonly nodes: NodeProto[] = [];
  private readonly initializers = new Map<Value, ReturnType<typeof tensor>>();
  private readonly inputs: ReturnType<typeof describe>[] = [];
  private readonly outputs: ReturnType<typeof describe>[] = [];
  private made = 0;

  /** Adds an operation and returns its output. `inputs`: "" leaves an optional one out. */
  node(operator: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
    return this.nodes_(operator, inputs, 1, attributes)[0];
  }

  /** Adds Split along `axis` into parts of these sizes. */
  split(value: Value, sizes: readonly number[], axis: number): Value[] {
    return this.nodes_("Split", [value, this.int64(sizes)], sizes.length, { axis });
  }

  private nodes_(
    operator: string,
    inputs: readonly Value[],
    count: number,
    attributes: Readonly<Record<string, Attribute>>,
  ): Value[] {
    const output = Array.from({ length: count }, () => `t${(this.made++).toString(36)}`);
    const attribute = Object.entries(attributes).map(([name, value]) => encodeAttribute(name, value));
    this.nodes.push(create(NodeProtoSchema, { opType: operator, input: [...inputs], output, attribute }));
    return output;
  }

  /** Stores a constant under its own name. */
  float32(name: Value, shape: readonly number[], data: Float32Array): Value {
    this.initializers.set(name, tensor(name, "float32", shape, data));
    return name;
  }

  int32(name: Value, shape: readonly number[], data: Int32Array): Value {
    this.initializers.set(name, tensor(name, "int32", shape, data));
    return name;
  }

  /** A scalar. */
  number(value: number): Value {
    const name = `${value}`;
    return this.initializers.has(name) ? name : this.float32(name, [], Float32Array.of(value));
  }

  /** A scalar, or a vector such as shapes and axes are. */
  int64(value: number | readonly number[]): Value {
    const list = typeof value === "number" ? [value] : value;
    const name = typeof value === "number" ? `i${value}` : `i[${list.join()}]`;
    if (!this.initializers.has(name)) {
      const shape = typeof value === "number" ? [] : [list.length];
      this.initializers.set(name, tensor(name, "int64", shape, BigInt64Array.from(list, BigInt)));
    }
    return name;
  }

  /** Declares an input of the graph. Names in `shape` are sizes known at run time. */
  input(name: Value, type: ElementType, shape: readonly (number | string)[], doc: string): Value {
    this.inputs.push(describe(name, type, shape, doc));
    return name;
  }

  /** Declares an input that may be left out and is `value` then. */
  optionalInput(
    name: Value,
    type: "float32" | "int64",
    shape: readonly string[],
    value: readonly number[],
    doc: string,
  ): Value {
    const data = type === "float32" ? Float32Array.from(value) : BigInt64Array.from(value, BigInt);
    this.initializers.set(name, tensor(name, type, shape.length === 0 ? [] : [value.length], data));
    return this.input(name, type, shape, doc);
  }

  /** Makes `value` an output of the graph under `name`. */
  output(name: Value, value: Value, shape: readonly (number | string)[], doc: string): void {
    const maker = this.nodes.find(({ output }) => output.includes(value));
    if (!maker) throw new Error(`no node makes ${value}`);
    maker.output[maker.output.indexOf(value)] = name;
    for (const node of this.nodes) node.input = node.input.map((input) => (input === value ? name : input));
    this.outputs.push(describe(name, "float32", shape, doc));
  }

  finish(name: string): GraphProto {
    return create(GraphProtoSchema, {
      name,
      node: this.nodes,
      initializer: [...this.initializers.values()],
      input: this.inputs,
      output: this.outputs,
    });
  }
}

function encodeAttribute(name: string, value: Attribute) {
  if (typeof value === "string") {
    const s = new TextEncoder().encode(value);
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.STRING, s });
  }
  if (typeof value !== "number") {
    return create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INTS, ints: value.map(BigInt) });
  }
  // The only real-valued attribute of the operators used is LayerNormalization's epsilon.
  return name === "epsilon"
    ? create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.FLOAT, f: value })
    : create(AttributeProtoSchema, { name, type: AttributeProto_AttributeType.INT, i: BigInt(value) });
}

function tensor(
  name: string,
  type: ElementType,
  shape: readonly number[],
  data: Float32Array | Int32Array | BigInt64Array,
) {
  return create(TensorProtoSchema, {
    name,
    dataType: elementTypes[type],
    dims: shape.map(BigInt),
    // A copy: weights may lie on shared memory, and the schema's type wants memory of its own.
    rawData: Uint8Array.from(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  });
}

function describe(name: string, type: ElementType, shape: readonly (number | string)[], docString: string) {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
    }),
  );
  const value = create(TypeProto_TensorSchema, {
    elemType: elementTypes[type],
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    docString,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
  });
}
