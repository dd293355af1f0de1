from typing import List, Sequence, Tuple

import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.models.heads import SimCCHead
from mmpose.models.utils.tta import flip_vectors
from mmpose.registry import MODELS
from mmpose.utils.tensor_utils import to_numpy
from torch import Tensor

from ...errors import UserError
from ...poses import SimCCReader, merge_flipped_simcc, simcc_peaks, simcc_scores


@MODELS.register_module()
class OfficialSimCCHead(SimCCHead):
    """:class:`SimCCHead` that decodes as the official SimCC code does.

    The stock head averages raw logits, does not move the mirrored vector, scores a keypoint by the smaller raw logit
    and drops it when that is not positive; published SimCC results come from the decode here. Parameters and their
    names are the stock head's.

    Scores are confidences in [0, 1], as in :attr:`PoseOutputs.confidence`, so that one threshold serves all heads: the
    official score, a probability, is divided by its best value. That is 1 with label smoothing; with Gaussian targets
    it is the score of the target itself (0.1 for σ = 4 bins).

    Args:
        decode: ``'official'``, or ``'mmpose'`` for the stock head's decode and scores.
        kwargs: Of :class:`SimCCHead`; ``loss`` defaults to :class:`SimCCKLLoss`.

    Raises:
        UserError: ``decode`` is neither, or no codec is given as ``decoder``.
    """

    def __init__(self, *args, decode: str = 'official', loss: dict = dict(type='SimCCKLLoss'), **kwargs):
        super().__init__(*args, loss=loss, **kwargs)
        if decode not in ('official', 'mmpose'):
            raise UserError(f'head.decode is "official" or "mmpose", not {decode!r}')
        if self.decoder is None:
            raise UserError('head.decoder is not set: give it the codec, dict(type="SimCCLabel", ...)')
        self.decode_rule = decode
        self.best_score = SimCCReader(self).best_score

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """As :meth:`SimCCHead.forward`, in fp32 under autocast too.

        In half precision the highest bins of a wide peak would tie, and the argmax would take the first of them, a
        quarter of a pixel off.
        """
        with torch.autocast(feats[-1].device.type, enabled=False):
            return super().forward((feats[-1].to(next(self.parameters()).dtype),))

    def loss(self, feats: Sequence[Tensor], batch_data_samples: Sequence, train_cfg: dict = {}) -> dict:
        """The keypoint loss, and the share of keypoints within 5 % of the input size, without leaving the device."""
        pred = self.forward(feats)
        labels = [s.gt_instance_labels for s in batch_data_samples]
        target = tuple(torch.cat([getattr(s, f'keypoint_{axis}_labels') for s in labels]) for axis in 'xy')
        weight = torch.cat([s.keypoint_weights for s in labels])
        return dict(
            loss_kpt=self.loss_module(pred, target, weight),
            acc_pose=self.accuracy(pred, target, weight > 0),
        )

    def accuracy(self, pred: Sequence[Tensor], target: Sequence[Tensor], mask: Tensor, thr: float = 0.05) -> Tensor:
        """Scalar in [0, 1]: the share of the masked keypoints whose decode lies within ``thr`` of the input size."""
        width, height = self.input_size
        with torch.no_grad():
            error = simcc_peaks(pred[0], pred[1], self.simcc_split_ratio)
            error = error - simcc_peaks(target[0], target[1], self.simcc_split_ratio)
            close = torch.hypot(error[..., 0] / width, error[..., 1] / height) < thr
            return (close & mask).sum() / mask.sum().clamp(min=1)

    def predict(self, feats, batch_data_samples: Sequence, test_cfg: dict = {}):
        """As :meth:`SimCCHead.predict`, but with confidences as scores, unless ``decode`` is ``'mmpose'``."""
        if self.decode_rule == 'mmpose':
            return super().predict(feats, batch_data_samples, test_cfg)
        prob_x, prob_y = self.predict_probabilities(feats, batch_data_samples, test_cfg)
        coords = simcc_peaks(prob_x, prob_y, self.simcc_split_ratio)
        scores = simcc_scores(prob_x, prob_y, self.decoder.smoothing_type)
        preds = pack_instances(coords, (scores / self.best_score).clamp(max=1))
        if not test_cfg.get('output_heatmaps', False):
            return preds
        return preds, [PixelData(heatmaps=y[:, :, None] * x[:, None, :]) for x, y in zip(prob_x, prob_y)]

    def predict_probabilities(self, feats, batch_data_samples: Sequence, test_cfg: dict) -> Tuple[Tensor, Tensor]:
        """N×K×Wx and N×K×Wy; with ``test_cfg.flip_test``, ``feats`` are the image's and its mirror image's."""
        rule = self.decoder.smoothing_type, self.simcc_split_ratio
        if not test_cfg.get('flip_test', False):
            return merge_flipped_simcc(self.forward(feats), None, *rule)
        feats, mirrored = feats
        flip_indices = batch_data_samples[0].metainfo['flip_indices']
        flipped = flip_vectors(*self.forward(mirrored), flip_indices=flip_indices)
        return merge_flipped_simcc(self.forward(feats), flipped, *rule)


def pack_instances(coords: Tensor, scores: Tensor) -> List[InstanceData]:
    """One :class:`InstanceData` an instance, as MMPose's heads return them (NumPy, 1×K×2 and 1×K)."""
    return [
        InstanceData(keypoints=xy[None], keypoint_scores=score[None])
        for xy, score in zip(to_numpy(coords.float()), to_numpy(scores.float()))
    ]
