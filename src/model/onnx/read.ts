import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema, TensorProto_DataLocation } from "onnx-buf";
import { SmhdrError, unreadable } from "../../errors.js";

/** A network as an ONNX file holds it (exportOnnx makes them). */
export interface OnnxModel {
  readonly name: string;
  readonly exposures: number;
  /** Whether a merge comes after the exposures (src/model/prior.ts). */
  readonly prior: boolean;
  readonly width: number;
  /** The most attention heads that a block has. */
  readonly heads: number;
  /** The file, in which no input may be left out. */
  readonly bytes: Uint8Array;
}

/**
 * Understands an ONNX file that exportOnnx made.
 * @throws SmhdrError BAD_INPUT when it is none, or keeps data in other files.
 */
export function decodeOnnx(bytes: Uint8Array, name: string): OnnxModel {
  const refuse = (why: string, cause?: unknown) =>
    new SmhdrError("BAD_INPUT", `${name} is no network that smhdr export wrote: ${why}.`, { cause });
  let proto: ModelProto;
  try {
    proto = fromBinary(ModelProtoSchema, bytes);
  } catch (error) {
    throw refuse(`it is not an ONNX file (${(error as Error).message})`, error);
  }
  const { graph } = proto;
  if (!graph) throw refuse("it has no graph");
  if (graph.initializer.some(({ dataLocation }) => dataLocation === TensorProto_DataLocation.EXTERNAL)) {
    throw refuse("its weights lie in other files");
  }
  const facts = new Map(proto.metadataProps.map(({ key, value }) => [key, value]));
  const [exposures, width, heads] = ["exposures", "width", "heads"].map((key) => {
    const number = Number(facts.get(key));
    if (!(Number.isInteger(number) && number > 0)) throw refuse(`its metadata lacks the number of "${key}"`);
    return number;
  });
  const declared = [...graph.input, ...graph.output];
  const sizes = (key: string) => {
    const type = declared.find((value) => value.name === key)?.type?.value;
    if (type?.case !== "tensorType") throw refuse(`"${key}" is not among its inputs and outputs`);
    return (
      type.value.shape?.dim.map(({ value }) => (value.case === "dimValue" ? Number(value.value) : undefined)) ?? []
    );
  };
  for (const key of ["sums_mode", "given_sums", "sums"]) sizes(key);
  const prior = facts.get("prior") === "true";
  const channels = 6 * (exposures + Number(prior));
  if (sizes("exposures")[1] !== channels) throw refuse(`"exposures" must have ${channels} channels`);
  if (sizes("radiance")[1] !== 3) throw refuse('"radiance" must have 3 channels');
  // ONNX Runtime for Node sees only inputs that have no default.
  graph.initializer = graph.initializer.filter(({ name: key }) => key !== "sums_mode" && key !== "given_sums");
  return {
    name: facts.get("name") ?? basename(name, ".onnx"),
    exposures,
    prior,
    width,
    heads,
    bytes: toBinary(ModelProtoSchema, proto),
  };
}

/** Reads an ONNX file from disk; see decodeOnnx. */
export async function readOnnx(path: string): Promise<OnnxModel> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  return decodeOnnx(bytes, path);
}
