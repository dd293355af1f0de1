# Scheme 3 of Table IV: the features and the pose (Eq. 1 and 2).
_base_ = ['tskd-stage1_simcc_hrnet-w48-to-w32_4xb32-210e_crowdpose-256x192.py']

model = dict(distill_losses=dict(loss_structure=None))
