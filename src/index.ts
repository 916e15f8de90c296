export type { Bracket, Exposure, Note } from "./bracket/bracket.js";
export { type ReadOptions, readBracket } from "./bracket/read-bracket.js";
export { type ErrorCode, SmhdrError } from "./errors.js";
export type { Encoding, Image, Radiance, RadianceMetadata } from "./image.js";
export { type WriteOptions, writeImage } from "./output/write-image.js";
export { type Method, Reconstructor, type ReconstructorOptions, type RunOptions } from "./reconstruct/reconstructor.js";
