# SimCC with HRNet-W32 alone on COCO test-dev: the refined model's config there, without the refiner.
_base_ = ['../../tskd/coco/simcc_hrnet-w32-igpgcn_coco-test-dev-256x192.py']

model = dict(head=dict(_delete_=True, **_base_.model.head.base_head))
