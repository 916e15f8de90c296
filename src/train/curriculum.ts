/** How training changes over its epochs, which count from 1 (method.md section 4). */
export interface Curriculum {
  /** Epochs without masks, epochs over which the mask ratio rises, and epochs over which it falls back to 0. */
  readonly epochs: { readonly plain: number; readonly rising: number; readonly falling: number };
  /** The mask ratio at the peak; without the curriculum the constant ratio of all masked epochs. */
  readonly peakRatio: number;
  /** False: the ratio is constant in the masked epochs. */
  readonly changing: boolean;
  /** Learning rate at the start of each cosine, and where it is heading. */
  readonly rate: { readonly from: number; readonly to: number };
}

export function totalEpochs({ epochs }: Pick<Curriculum, "epochs">): number {
  return epochs.plain + epochs.rising + epochs.falling;
}

/** The mask ratio r of an epoch. */
export function maskRatio({ epochs, peakRatio, changing }: Curriculum, epoch: number): number {
  const masked = epoch - epochs.plain;
  if (masked <= 0) return 0;
  if (!changing) return peakRatio;
  if (masked <= epochs.rising) return (peakRatio * masked) / epochs.rising;
  return (peakRatio * (epochs.rising + epochs.falling - masked)) / epochs.falling;
}

/**
 * The learning rate of an epoch: a cosine over all epochs, of which the plain ones are run through, and a second one from its
 * start over the masked epochs.
 */
export function learningRate(curriculum: Curriculum, epoch: number): number {
  const { epochs, rate } = curriculum;
  const along =
    epoch <= epochs.plain
      ? (epoch - 1) / totalEpochs(curriculum)
      : (epoch - epochs.plain - 1) / (epochs.rising + epochs.falling);
  return rate.to + ((rate.from - rate.to) / 2) * (1 + Math.cos(Math.PI * along));
}

/** Whether an epoch begins with a pass over all scenes that measures their local quality: every 5th, and every masked one. */
export function measuresQuality({ epochs }: Pick<Curriculum, "epochs">, epoch: number): boolean {
  return epoch > epochs.plain || epoch % 5 === 0;
}
