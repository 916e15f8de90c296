import { workerData } from "node:worker_threads";
import { Renderer, type Scene, type Settings } from "./frame.js";
import { type Stage, workStage } from "./render.js";

const { settings, scene, stage } = workerData as { settings: Settings; scene: Scene; stage: Stage };
workStage(new Renderer(settings, scene), settings, stage);
