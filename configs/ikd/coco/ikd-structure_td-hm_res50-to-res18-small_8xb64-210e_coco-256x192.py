# IKD's ablation on COCO: the affinities between keypoints (structure) alone.
_base_ = ['ikd_td-hm_res50-to-res18-small_8xb64-210e_coco-256x192.py']

model = dict(distill_losses=dict(_delete_=True, loss_structure=_base_.model.distill_losses.loss_structure))
